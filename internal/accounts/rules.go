package accounts

import (
	"errors"
	"slices"
)

// rule is one thing that is asked of each offer. Put stops at the first one that refuses the offer,
// and DryRun asks all.
type rule struct {
	// name is for programs, which read it in the answer to a dry run. It never changes. A rule
	// without a name finds that there is nothing to do.
	name string
	// needs is the rule without which this one can't be asked, "" if there is none.
	needs string
	check func(p *policy, o *offer) error
}

// The rules that others need.
const (
	ruleJWT       = "jwt"
	ruleAccount   = "account"
	ruleSignature = "signature"
)

// inspections need neither what is stored nor a signature check.
var inspections = []rule{
	{ruleJWT, "", checkHead},
	{ruleAccount, ruleJWT, checkAccount},
	{"issuer", ruleJWT, checkIssuer},
	{"epoch", ruleJWT, checkEpoch},
	{"size", ruleJWT, checkSize},
	{"clock", ruleJWT, checkAhead},
}

// decisions are made with what is stored. The signature check, which costs most, comes after the
// comparisons.
var decisions = []rule{
	{"", ruleAccount, checkSame},
	{"unchanged", ruleAccount, checkPrecondition},
	{"newer", ruleAccount, checkNewer},
	{ruleSignature, ruleJWT, checkSignature},
	{"claims", ruleSignature, checkClaims},
	{"", ruleSignature, checkSameClaims},
	{"writable", "", checkWritable},
	{"spelling", ruleSignature, checkSpelling},
}

// first returns what the first rule says that refuses the offer, nil if none does.
func (p *policy) first(rules []rule, o *offer) error {
	for _, r := range rules {
		if err := r.check(p, o); err != nil {
			return err
		}
	}
	return nil
}

// RuleResult is what one rule of the policy says of a JWT.
type RuleResult struct {
	Rule    string
	Refused error // why it refuses the JWT; nil: it does not
	Skipped bool  // it can't be asked, because of what an earlier rule has said
}

// all asks rules one after the other, after those of before, and reports whether there is nothing
// to do. What comes after that is not asked.
func (p *policy) all(
	before []RuleResult, rules []rule, o *offer,
) (results []RuleResult, isSame bool) {
	results = slices.Clip(before)
	for _, r := range rules {
		isAsked := !slices.ContainsFunc(results, func(had RuleResult) bool {
			return had.Rule == r.needs && had.Rule != "" && (had.Skipped || had.Refused != nil)
		})
		var err error
		if isAsked {
			err = r.check(p, o)
		}
		switch {
		case errors.Is(err, errSame) && firstRefusal(results) == nil:
			return results, true
		case r.name != "":
			results = append(results, RuleResult{r.name, err, !isAsked})
		}
	}
	return results, false
}

// firstRefusal returns what Put would say, nil if it takes the JWT.
func firstRefusal(results []RuleResult) error {
	for _, r := range results {
		if r.Refused != nil {
			return r.Refused
		}
	}
	return nil
}
