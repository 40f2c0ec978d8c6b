package ova

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/agibake/agibake/internal/referee"
)

// schemas are the strict subset in testdata and, where it is at hand, DMTF's own schema.
func schemas() []string {
	list := []string{"testdata/ovf-subset/ovf.xsd"}
	if own := os.Getenv("AGIBAKE_OVF_SCHEMA"); own != "" {
		list = append(list, own)
	}
	return list
}

func xmllint(t *testing.T, schema string, doc []byte) (string, error) {
	t.Helper()
	file := filepath.Join(t.TempDir(), "x.ovf")
	if err := os.WriteFile(file, doc, 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := referee.Command(t, "xmllint", "--noout", "--nonet", "--schema", schema, file).CombinedOutput()
	return string(out), err
}

func TestDescriptorFitsTheSchema(t *testing.T) {
	bios := spec
	bios.UEFI, bios.SecureBoot, bios.Description = false, false, ""
	for _, s := range []Spec{spec, bios} {
		doc := open(t, build(t, s)).Descriptor
		for _, schema := range schemas() {
			if out, err := xmllint(t, schema, doc); err != nil {
				t.Errorf("%s: %v\n%s", schema, err, out)
			}
		}
	}
}

// TestSchemaFinds shows that the schema is no formality.
func TestSchemaFinds(t *testing.T) {
	doc := string(open(t, build(t, spec)).Descriptor)
	for _, change := range [][2]string{
		{"<rasd:Parent>3<", "<rasd:Parent>9<"},
		{`ovf:fileRef="file1"`, `ovf:fileRef="file2"`},
		{"<rasd:Connection>VM Network<", "<rasd:Connection>Other<"},
		{"<rasd:InstanceID>2<", "<rasd:InstanceID>1<"},
		{"<Name>saiga</Name>", ""},
		{"</ProductSection>", "<Extra/></ProductSection>"},
		{"</DiskSection>", "</DiskSection><DiskSection/>"},
	} {
		changed := strings.Replace(doc, change[0], change[1], 1)
		if changed == doc {
			t.Fatalf("the descriptor lacks %s", change[0])
		}
		if _, err := xmllint(t, schemas()[0], []byte(changed)); err == nil {
			t.Errorf("%q went unnoticed", change[1])
		}
	}
}
