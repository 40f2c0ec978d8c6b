# Lets everything go on that was frozen, when its input ends without "q" (the process that froze is gone) or after too long.
# Arguments: the docker program or nothing, and how many seconds things may stand still.
# Input, each line before the deed: "p PID START" a process is to be stopped, "c ID" a container is to be paused, "q" all is well.
set -f
docker=$1 procs= boxes=

start() { # of a process, in clock ticks, as /proc/PID/stat has it; its name may hold anything
	s=$(cat "/proc/$1/stat" 2>/dev/null) || return 0
	set -- ${s##*) }
	echo "${20}"
}

unpause() { [ -z "$boxes" ] || "$docker" unpause $boxes; }

thaw() {
	for p in $procs; do
		[ "$(start "${p%:*}")" != "${p#*:}" ] || kill -CONT "${p%:*}"
	done
	unpause
	[ -z "$boxes" ] || for again in 1 2 3 4 5; do sleep 0.3; unpause; done # the engine may yet get a request to pause
}

(
	trap 'kill $s; exit 0' USR1
	sleep "$2" & s=$!
	wait $s
	kill -USR2 $$
) </dev/null >/dev/null 2>&1 3<&- & timer=$!
trap '' HUP INT TERM
trap 'thaw; exit 1' USR2

echo ready
exec >/dev/null 2>&1
while read -r what who when; do
	case $what in
	p) procs="$procs $who:$when" ;;
	c) boxes="$boxes $who" ;;
	q) kill -USR1 $timer; exit 0 ;;
	esac
done
thaw
kill -USR1 $timer
exit 1
