//! The search against programs that are rules: what they do under which terms.

use super::*;
use crate::contract::evidence::Evidence;
use crate::contract::places::Places;
use crate::inputs::DEFAULT_CAPABILITIES;

fn presumed(evidence: &[(&str, bool)]) -> Presumed {
    let evidence = evidence.iter().map(|(name, certain)| {
        ((*name).to_owned(), Evidence { certain: *certain, because: "test".to_owned() })
    });
    Presumed {
        user: None,
        observed: DEFAULT_CAPABILITIES.iter().map(ToString::to_string).collect(),
        evidence: evidence.collect(),
        uses_privileges: true,
        privileged_programs: BTreeSet::new(),
        places: Places::default(),
        ports: BTreeSet::new(),
    }
}

/// Needs these capabilities; is refused `call` for want of the one that the call asks for.
struct Needs<'a> {
    capabilities: &'a [&'a str],
    refused: &'a [(&'a str, &'a str)],
    root: Root,
    ceilings: bool,
}

impl Needs<'_> {
    fn run(&self, terms: &Terms) -> Outcome {
        let has = |name: &str| terms.capabilities.contains(name);
        let refused: BTreeSet<String> = self
            .refused
            .iter()
            .filter(|(_, capability)| !has(capability))
            .map(|(call, _)| (*call).to_owned())
            .collect();
        let held = self.capabilities.iter().all(|name| has(name))
            && refused.is_empty()
            && terms.root >= self.root
            && (self.ceilings || !terms.ceilings);
        Outcome { held, signs: Signs { refused, ..Signs::default() } }
    }
}

const NOTHING: Needs<'_> = Needs { capabilities: &[], refused: &[], root: Root::ReadOnly, ceilings: true };

fn found(presumed: &Presumed, run: impl Fn(&Terms) -> Outcome) -> (Terms, usize) {
    let mut search = Search::new(presumed);
    while let Some(terms) = search.to_try() {
        let outcome = run(terms);
        search.learn(&outcome);
    }
    let (terms, steps) = search.finish();
    assert!(steps.len() <= MOST_STARTS);
    let fails = steps.iter().any(|step| step.terms == terms && !step.held);
    assert!(!fails, "what did not hold is never the outcome");
    (terms, steps.len())
}

fn names(terms: &Terms) -> Vec<&str> {
    terms.capabilities.iter().map(String::as_str).collect()
}

#[test]
fn a_program_that_needs_nothing_takes_one_start() {
    let presumed = presumed(&[]);
    let (terms, starts) = found(&presumed, |terms| NOTHING.run(terms));
    assert_eq!((terms, starts), (presumed.terms(), 1));
}

#[test]
fn what_is_only_presumed_is_tried_without_and_dropped() {
    let presumed = presumed(&[("CHOWN", false), ("KILL", false), ("SETUID", true)]);
    let needs = Needs { capabilities: &["SETUID"], ..NOTHING };
    let (terms, starts) = found(&presumed, |terms| needs.run(terms));
    assert_eq!((names(&terms), starts), (vec!["SETUID"], 2));
}

#[test]
fn a_refused_call_brings_its_capability_back_whatever_else_the_program_does() {
    let presumed = presumed(&[("CHOWN", false), ("FOWNER", false)]);
    let needs = Needs { refused: &[("fchown", "CHOWN")], ..NOTHING };
    let (terms, starts) = found(&presumed, |terms| needs.run(terms));
    assert_eq!((names(&terms), starts), (vec!["CHOWN"], 3));
}

#[test]
fn a_set_id_helper_that_the_trace_did_not_show_gets_what_it_is_refused() {
    let needs = Needs { refused: &[("setgroups", "SETGID"), ("setuid", "SETUID")], ..NOTHING };
    let presumed = presumed(&[]);
    let (terms, starts) = found(&presumed, |terms| needs.run(terms));
    assert_eq!((names(&terms), starts), (vec!["SETGID", "SETUID"], 2));
}

#[test]
fn a_need_that_gives_no_sign_is_found_within_the_ceiling_of_starts() {
    for hidden in ["DAC_OVERRIDE", "MKNOD", "NET_RAW", "SYS_CHROOT"] {
        let needs = Needs { capabilities: &[hidden], ..NOTHING };
        let presumed = presumed(&[]);
        let (terms, _) = found(&presumed, |terms| needs.run(terms));
        assert!(terms.capabilities.contains(hidden), "{hidden}: {terms}");
        assert!(terms.capabilities.len() < 14, "{hidden}: {terms}");
        assert_eq!(terms.root, Root::ReadOnly, "what was climbed in vain is taken back: {terms}");
        assert!(terms.ceilings, "{terms}");
    }
}

#[test]
fn a_program_that_writes_the_root_keeps_the_other_terms() {
    let needs = Needs { root: Root::Writable, ..NOTHING };
    let presumed = presumed(&[("CHOWN", false)]);
    let (terms, _) = found(&presumed, |terms| needs.run(terms));
    assert_eq!((terms.root, names(&terms), terms.ceilings), (Root::Writable, vec![], true));
    assert!(terms.no_new_privileges);
}

#[test]
fn its_own_words_shorten_the_search() {
    let needs = Needs { root: Root::Writable, ..NOTHING };
    let presumed = presumed(&[]);
    let told = |terms: &Terms| {
        let mut outcome = needs.run(terms);
        outcome.signs.says_read_only = !outcome.held;
        outcome
    };
    assert_eq!(found(&presumed, told).1, 2);
}

#[test]
fn a_program_that_never_holds_gets_what_it_had() {
    let presumed = presumed(&[("CHOWN", false)]);
    let (terms, _) = found(&presumed, |_| Outcome { held: false, signs: Signs::default() });
    assert_eq!(terms, Terms::loosest(&presumed));
}

#[test]
fn nobody_gets_what_the_observed_container_did_not_have() {
    let mut presumed = presumed(&[]);
    presumed.observed = BTreeSet::from(["CHOWN".to_owned()]);
    let (terms, _) = found(&presumed, |terms| Outcome {
        held: false,
        signs: Signs { refused: ["setuid".to_owned()].into(), ..NOTHING.run(terms).signs },
    });
    assert_eq!(names(&terms), ["CHOWN"]);
}

#[test]
fn every_need_for_any_of_the_usual_capabilities_is_met() {
    // Every pair, with and without a sign: what is found is enough, or all that there was.
    for one in DEFAULT_CAPABILITIES {
        for other in DEFAULT_CAPABILITIES {
            let presumed = presumed(&[(one, false)]);
            let needs = [one, other];
            let needs = Needs { capabilities: &needs, ..NOTHING };
            let (terms, _) = found(&presumed, |terms| needs.run(terms));
            assert!(needs.run(&terms).held || terms == Terms::loosest(&presumed), "{one} {other}: {terms}");
        }
    }
}
