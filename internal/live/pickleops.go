package live

import (
	"errors"
	"fmt"
)

// step carries out one operation.
func (u *unpickler) step(op byte) error {
	switch op {
	case 0x80: // PROTO
		_, err := u.number(1)
		return err
	case 0x95: // FRAME
		_, err := u.number(8)
		return err
	case '}':
		u.push(&dict{})
	case '(':
		u.push(mark{})
	case 'N':
		u.push(nil)
	case 0x88, 0x89:
		u.push(op == 0x88)
	case 'X':
		return u.text(4)
	case 0x8c:
		return u.text(1)
	case 0x8d:
		return u.text(8)
	case 'K', 'M':
		n, err := u.number(int(op-'K')/2 + 1)
		u.push(int64(n))
		return err
	case 'J':
		n, err := u.number(4)
		u.push(int64(int32(n)))
		return err
	case 0x8a:
		return u.long()
	case 'I', 'L':
		return u.decimal()
	case 's':
		value, key := u.pop(), u.pop()
		return u.set([]any{key, value})
	case 'u':
		return u.set(u.popMark())
	default:
		return u.rare(op)
	}
	return nil
}

// rare carries out what only the objects of earlier versions need, and the memo.
func (u *unpickler) rare(op byte) error {
	switch op {
	case 0x94: // MEMOIZE
		return u.remember(uint64(len(u.memo)))
	case 'q', 'r': // BINPUT, LONG_BINPUT
		n, err := u.number(int(op-'q')*3 + 1)
		return errors.Join(err, u.remember(n))
	case 'h', 'j': // BINGET, LONG_BINGET
		width := 1
		if op == 'j' {
			width = 4
		}
		n, err := u.number(width)
		u.push(u.memo[int(n)])
		return err
	case 'c': // GLOBAL: module and class, a line each
		_, err := u.r.ReadString('\n')
		_, err2 := u.r.ReadString('\n')
		u.push(nil)
		return errors.Join(err, err2)
	case 0x93: // STACK_GLOBAL
		u.pop()
		u.pop()
		u.push(nil)
	case ')', ']':
		u.push(nil)
	case 't': // TUPLE
		u.popMark()
		u.push(nil)
	case 0x85, 0x86, 0x87: // TUPLE1 to 3
		for range op - 0x84 {
			u.pop()
		}
		u.push(nil)
	case 0x81, 'R': // NEWOBJ, REDUCE: of class and arguments
		u.pop()
		u.pop()
		u.push(&object{})
	case 'b': // BUILD
		state := u.pop()
		if len(u.stack) == 0 {
			return errors.New("attributes without an object")
		}
		if o, ok := u.stack[len(u.stack)-1].(*object); ok {
			o.state = state
		}
	default:
		return fmt.Errorf("operation %#x is none that Chroma uses", op)
	}
	return nil
}

func (u *unpickler) remember(n uint64) error {
	if len(u.stack) == 0 || n > 1<<31 {
		return errors.New("nothing to remember")
	}
	u.memo[int(n)] = u.stack[len(u.stack)-1]
	return nil
}
