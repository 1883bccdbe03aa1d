package pages

import (
	"fmt"
	"html/template"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/nats-io/jwt/v2"

	"nats-account-server/internal/claimdiff"
	"nats-account-server/internal/monitor"
)

// The drawing has the accounts that this one imports from on the left, this one in the middle, and
// those that import from it on the right. Its unit is a pixel at full width.
const (
	// The style sheet scales the drawing to the width of the window.
	graphWidth  = 1080
	boxHeight   = 44
	boxWidth    = 190
	meWidth     = 230
	meHeight    = 60
	rowHeight   = 74
	graphMargin = 18
	// maxBoxes bounds the boxes on each side. A last one says how many more there are.
	maxBoxes = 6
	// maxBoxText and maxArrowText are how many characters there is room for in a box and at an
	// arrow. They are measured for the font of the style sheet: SVG does not tell how wide a text
	// is.
	maxBoxText   = 22
	maxArrowText = 30
)

// graph is the drawing, as the template "graph" writes it in SVG. Boxes[0] is the account that the
// page is about.
type graph struct {
	Width, Height int
	Label         string // for those who do not see it
	Boxes         []box
	Arrows        []arrow
}

// box is an account. X and Y are the upper left corner. Its methods are for the template, which
// can't calculate.
type box struct {
	account                  // zero: it stands for several, and is no link
	IsMe                bool // it is the account that the page is about
	X, Y, Width, Height int
	Title, Under        string // Under is below the title; "" for none
}

// TextX is where the texts begin.
func (b box) TextX() int { return b.X + 14 }

// TitleY is the base line of the title. 26 and 45 are for two lines in a box of 60, and 5 is half
// the height of a capital letter.
func (b box) TitleY() int {
	if b.Under != "" {
		return b.Y + 26
	}
	return b.Y + b.Height/2 + 5
}

// UnderY is the base line of the text below.
func (b box) UnderY() int { return b.Y + 45 }

// arrow is what goes from one account to another. It points to the one that imports. Path is like
// "M200 44 C312 44 312 130 425 130": a Bézier curve that begins and ends level.
type arrow struct {
	Path  string // a curve, in the syntax of SVG
	Text  string // one import, or how many there are
	X, Y  int    // where the text begins
	IsEnd bool   // the text ends there instead
	IsBad bool   // what it stands for does nothing
}

// neighbour is an account at one side, with what goes to it or comes from it.
type neighbour struct {
	account
	good, bad []string // what is imported, as "service auth.check"; what is in bad does nothing
}

// graphOf draws who shares with an account. It returns "" if there is nothing to draw. It needs
// d.Claims. The height follows from the side with more boxes.
func graphOf(d monitor.Detail) template.HTML {
	left, right := sourcesOf(d), importersOf(d)
	if len(left)+len(right) == 0 {
		return ""
	}
	name := account{d.Key, d.Claims.Name}
	rows := max(shown(left), shown(right), 1)
	g := &graph{Width: graphWidth, Height: rows*rowHeight + graphMargin,
		Label: graphLabel(name, left, right)}
	me := box{account: name, IsMe: true, X: (graphWidth - meWidth) / 2,
		Y: (g.Height - meHeight) / 2, Width: meWidth, Height: meHeight,
		Title: clip(name.Label(), maxBoxText), Under: "exports " +
			count(len(d.Claims.Exports)) + ", imports " + count(len(d.Claims.Imports))}
	g.Boxes = append(g.Boxes, me)
	g.addSide(left, me, 10, true)
	g.addSide(right, me, graphWidth-boxWidth-10, false)
	return main("graph", g)
}

// shown returns how many boxes a side has. The last box may stand for the rest.
func shown(side []neighbour) int { return min(len(side), maxBoxes) }

// addSide draws the accounts of one side. x is the left edge of its boxes. They are centred in the
// height of the drawing.
func (g *graph) addSide(side []neighbour, me box, x int, isLeft bool) {
	n := shown(side)
	top := (g.Height - n*rowHeight) / 2
	for i := range n {
		b := box{account: side[i].account, X: x, Y: top + i*rowHeight + (rowHeight-boxHeight)/2,
			Width: boxWidth, Height: boxHeight}
		if b.Title = clip(b.Label(), maxBoxText); i == maxBoxes-1 && len(side) > maxBoxes {
			b.account, b.Title = account{}, "and "+count(len(side)-i)+" more"
			g.Boxes = append(g.Boxes, b)
			return
		}
		g.Boxes = append(g.Boxes, b)
		// The arrows meet this account beside each other. Six pixels are between two of them.
		at := me.Y + me.Height/2 + (2*i-n+1)*6
		good, bad := side[i].good, side[i].bad
		if len(good) > 0 {
			g.Arrows = append(g.Arrows, newArrow(good, b, me, at, 0, isLeft))
		}
		if len(bad) > 0 {
			g.Arrows = append(g.Arrows, newArrow(bad, b, me, at+6, 12, isLeft).broken(b, len(bad)))
		}
	}
}

// newArrow draws the arrow between an account and this one, which it meets at a height. It is so
// far below the middle of the other one. what are imports in words, at least one.
func newArrow(what []string, b, me box, at, below int, isLeft bool) arrow {
	text := what[0]
	if len(what) > 1 {
		text = counted(len(what), "import", "imports")
	}
	w := arrow{Text: clip(text, maxArrowText), X: b.X + b.Width + 12, Y: b.Y + 10}
	if b.Y+b.Height/2 > me.Y+me.Height/2 { // the arrow goes up
		w.Y = b.Y + b.Height + 2
	}
	from, to, fromY, toY := b.X+b.Width, me.X, b.Y+b.Height/2+below, at
	if !isLeft {
		from, to, fromY, toY = me.X+me.Width, b.X, at, fromY
		w.X, w.IsEnd = b.X-12, true
	}
	// Both control points are in the middle, so the curve leaves and arrives level.
	middle := (from + to) / 2
	w.Path = fmt.Sprintf("M%d %d C%d %d %d %d %d %d",
		from, fromY, middle, fromY, middle, toY, to, toY)
	return w
}

// broken marks an arrow of which nothing comes. n is how many imports it stands for. Its text is
// below the box.
func (w arrow) broken(b box, n int) arrow {
	w.IsBad, w.Y = true, b.Y+b.Height+16
	if n == 1 {
		w.Text += ": does nothing"
	} else {
		w.Text += ": do nothing"
	}
	return w
}

// sourcesOf returns the accounts that an account imports from, in the order of its imports. An
// account that is imported from several times is one neighbour.
func sourcesOf(d monitor.Detail) (all []neighbour) {
	for n, i := range d.Claims.Imports {
		if i == nil {
			continue
		}
		at := slices.IndexFunc(all, func(one neighbour) bool { return one.Key == i.Account })
		if at < 0 {
			at = len(all)
			all = append(all, neighbour{account: account{i.Account, d.Sources[n].Name}})
		}
		all[at].add(i, d.Sources[n].Fault)
	}
	return all
}

// importersOf returns the accounts that import from an account. There are as many as monitor.Detail
// has read.
func importersOf(d monitor.Detail) (all []neighbour) {
	for _, importer := range d.Importers {
		one := neighbour{account: account{importer.Key, importer.Name}}
		for n, i := range importer.Imports {
			one.add(i, importer.Faults[n])
		}
		all = append(all, one)
	}
	return all
}

// add adds an import. fault is "" for an import that works.
func (n *neighbour) add(i *jwt.Import, fault string) {
	what := i.Type.String() + " " + claimdiff.Plain(claimdiff.Remote(i))
	if fault != "" {
		n.bad = append(n.bad, what)
	} else {
		n.good = append(n.good, what)
	}
}

// graphLabel says in a sentence what the drawing shows.
func graphLabel(me account, left, right []neighbour) string {
	var parts []string
	if len(left) > 0 {
		parts = append(parts, "imports from "+counted(len(left), "account", "accounts"))
	}
	if len(right) > 0 {
		parts = append(parts, "is imported from by "+counted(len(right), "account", "accounts"))
	}
	return me.Label() + " " + strings.Join(parts, ", and ") + ". The tables below name them."
}

// clip shortens a text to so many characters. A drawing can't break lines. A rune counts as one
// character.
func clip(text string, characters int) string {
	if utf8.RuneCountInString(text) <= characters {
		return text
	}
	return string([]rune(text)[:characters-1]) + "…"
}
