package main

import "fmt"

// statePage writes what was measured; bytes are those of the state.
func (b *bench) statePage(m benchMind, bytes float64, tools []*stateTool, alone []stateMemory) {
	p, ours, restic := b.page, tools[0], tools[1]
	beside := func(verb string) float64 { return ours.took[verb].wall() / restic.took[verb].wall() }
	p.target("first capture of a state, beside restic's backup", beside("first"), 1./3, " ×")
	p.target("its restore, beside restic's", beside("restore"), 0.5, " ×")
	p.target("bytes that a second capture adds, 1 % changed, beside restic's", ours.added/restic.added, 1, " ×")
	peak := ours.peak()
	for _, held := range alone {
		peak = max(peak, held.capture, held.restore)
	}
	p.target("memory of agibake with states", float64(peak)/(1<<20), 300, " MiB")

	p.section("State", fmt.Sprintf("A state of %s: %s of weights that nothing compresses, in one safetensors file, %s of text in\n", mib(int64(bytes)), mib(m.weights), mib(m.text))+
		fmt.Sprintf("three jsonl files, and a Chroma database of %d vectors, stopped. Then one tensor of 20 MiB is another, 1 %% of the lines\n", m.vectors)+
		"are written anew, fifty in a row, 0.5 % are added, and 1 % of the vectors are set anew by Chroma. agibake also exports\n"+
		"the database as text. Their caches are empty before the first capture;\n"+
		"what they stored is in the page cache before restore and verify. All times end when the files are on the disk.\n"+
		"restic always encrypts; the column beside it is plain agibake's. "+output("restic", "version")+"; "+output("borg", "--version")+".")
	head := []string{""}
	for _, t := range tools {
		head = append(head, t.name)
	}
	rows := [][]string{append(head, "agibake beside restic")}
	row := func(what string, cell func(*stateTool) string, beside float64) {
		line := []string{what}
		for _, t := range tools {
			line = append(line, cell(t))
		}
		rows = append(rows, append(line, fmt.Sprintf("%.2f ×", beside)))
	}
	timed := func(what, verb string) {
		row(what, func(t *stateTool) string { return t.took[verb].String() }, beside(verb))
	}
	timed("first capture", "first")
	row("its speed, MB/s", func(t *stateTool) string { return fmt.Sprintf("%.0f", bytes/1e6/t.took["first"].wall()) }, 1/beside("first"))
	row("its CPU", func(t *stateTool) string { return seconds(t.took["first"].middle().cpu) + " s" }, ours.took["first"].middle().cpu/restic.took["first"].middle().cpu)
	row("size", func(t *stateTool) string { return mib(int64(t.size)) }, ours.size/restic.size)
	timed("second capture, 1 % changed", "second")
	row("bytes added", func(t *stateTool) string { return mib(int64(t.added)) }, ours.added/restic.added)
	timed("third capture, nothing changed", "third")
	timed("restore", "restore")
	timed("restore, not flushed but by agibake", "restore, unflushed")
	timed("verify, all data read", "verify")
	row("memory", func(t *stateTool) string { return mib(t.peak()) }, float64(ours.peak())/float64(restic.peak()))
	p.table(rows...)
	b.stateMemory(alone)
}

// stateMemory tells what a model takes, and one ten times as large, where that was measured.
func (b *bench) stateMemory(alone []stateMemory) {
	if len(alone) == 0 {
		return
	}
	rows := [][]string{{"memory of agibake, a model alone", "capture", "restore"}}
	for _, held := range alone {
		rows = append(rows, []string{mib(held.weights), mib(held.capture), mib(held.restore)})
	}
	if len(alone) == 2 {
		rise := max(float64(alone[1].capture)/float64(alone[0].capture), float64(alone[1].restore)/float64(alone[0].restore))
		b.page.target(fmt.Sprintf("that memory with %s of weights, beside %s", mib(alone[1].weights), mib(alone[0].weights)), rise, 1.1, " ×")
	}
	b.page.table(rows...)
}

// peak is the most memory that any verb took.
func (t *stateTool) peak() (top int64) {
	for _, s := range t.took {
		top = max(top, s.peak())
	}
	return top
}
