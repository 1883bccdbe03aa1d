package pages

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// colours are those of the style sheet, by name: light ones, then dark ones.
func colours(t *testing.T) (schemes [2]map[string]string) {
	sheet := string(assets["style.css"].Body)
	light, dark, found := strings.Cut(sheet, "@media (prefers-color-scheme: dark)")
	if !found {
		t.Fatal("there are no dark colours")
	}
	dark, _, _ = strings.Cut(dark, "* {")
	for i, text := range []string{light, dark} {
		schemes[i] = map[string]string{}
		for _, m := range regexp.MustCompile(`--([a-z]+): (#[0-9a-f]{6})`).FindAllStringSubmatch(text, -1) {
			schemes[i][m[1]] = m[2]
		}
	}
	return schemes
}

// luminance is the relative luminance of WCAG 2.
func luminance(t *testing.T, colour string) (l float64) {
	t.Helper()
	n, err := strconv.ParseUint(strings.TrimPrefix(colour, "#"), 16, 32)
	if err != nil {
		t.Fatal(err)
	}
	for i, weight := range []float64{0.0722, 0.7152, 0.2126} {
		c := float64(n>>(8*i)&0xff) / 255
		if c <= 0.04045 {
			c /= 12.92
		} else {
			c = math.Pow((c+0.055)/1.055, 2.4)
		}
		l += weight * c
	}
	return l
}

func contrast(t *testing.T, a, b string) float64 {
	t.Helper()
	x, y := luminance(t, a), luminance(t, b)
	return (max(x, y) + 0.05) / (min(x, y) + 0.05)
}

// TestTheContrastIsThatOfWCAG holds each pair of colours that is used against level AA: 4.5 for texts, and
// 3 for what is drawn.
func TestTheContrastIsThatOfWCAG(t *testing.T) {
	pairs := []struct {
		front, back string
		least       float64
	}{
		{"ok", "card", 4.5}, {"ok", "head", 4.5}, {"warn", "warnbg", 4.5}, {"bad", "badbg", 4.5},
		{"warn", "card", 4.5}, {"bad", "card", 4.5}, {"warn", "head", 4.5}, {"bad", "head", 4.5},
		{"edge", "card", 3}, {"edge", "bg", 3}, {"bar", "line", 3}, {"bar", "card", 3}, {"link", "card", 3},
	}
	for _, text := range []string{"ink", "soft", "link"} {
		for _, back := range []string{"bg", "card", "head"} {
			pairs = append(pairs, struct {
				front, back string
				least       float64
			}{text, back, 4.5})
		}
	}
	for i, scheme := range colours(t) {
		for _, p := range pairs {
			front, back := scheme[p.front], scheme[p.back]
			if front == "" || back == "" {
				t.Fatalf("scheme %d lacks %s or %s", i, p.front, p.back)
			}
			if got := contrast(t, front, back); got < p.least {
				t.Errorf("scheme %d: %s on %s is %.2f, less than %.1f", i, p.front, p.back, got, p.least)
			}
		}
	}
	if got := fmt.Sprintf("%.1f", contrast(t, "#000000", "#ffffff")); got != "21.0" {
		t.Error(got)
	}
}

// TestNothingComesFromElsewhere: the style sheet, the script and the templates name no other server, and
// have no style and no script in them.
func TestNothingComesFromElsewhere(t *testing.T) {
	entries, err := files.ReadDir("web")
	if err != nil {
		t.Fatal(err)
	}
	inline := regexp.MustCompile(`https?://|//[a-z]|@import|\sstyle=|<style|\son[a-z]+=|javascript:|` +
		`\beval\(|innerHTML`)
	for _, e := range entries {
		text, err := files.ReadFile("web/" + e.Name())
		if err != nil {
			t.Fatal(err)
		}
		plain := strings.ReplaceAll(string(text), "http://www.w3.org/2000/svg", "")
		if found := inline.FindString(plain); found != "" {
			t.Errorf("%s has %q", e.Name(), found)
		}
	}
}
