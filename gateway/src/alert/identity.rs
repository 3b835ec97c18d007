//! The ids of alerts: made from the rule (its name and what it asks), the series and the time of beginning, and from nothing else.
//!
//! `<rule>-<alert>`: eight hexadecimal digits of what the rule asks, so that an alert of a rule that was changed since is known
//! as such, and 24 of the whole. FNV-1a with 128 bits (<http://www.isthe.com/chongo/tech/comp/fnv/>): it needs no key and is the same in
//! every version and on every machine, which ids on disk must be.

use smol_str::{SmolStr, format_smolstr};

use crate::{
    alert::{Condition, Rule},
    model::Timestamp,
};

const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;

struct Fnv(u128);

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        for byte in bytes {
            self.0 = (self.0 ^ u128::from(*byte)).wrapping_mul(PRIME);
        }
        self
    }

    /// With its length, so that `a`, `bc` and `ab`, `c` differ.
    fn text(&mut self, text: &str) -> &mut Self {
        self.bytes(&(text.len() as u64).to_le_bytes())
            .bytes(text.as_bytes())
    }
}

/// What a rule asks, as 32 bits: its series, condition and hold; not its words, labels or webhooks.
pub(crate) fn fingerprint(rule: &Rule) -> u32 {
    let mut fnv = Fnv(OFFSET);
    fnv.text(&rule.series);
    let (kind, a, b): (u8, u128, u128) = match rule.condition {
        Condition::Above { limit, clear } => (0, limit.to_bits().into(), clear.to_bits().into()),
        Condition::Below { limit, clear } => (1, limit.to_bits().into(), clear.to_bits().into()),
        Condition::ChangeOver { limit, over } => (2, limit.to_bits().into(), over.as_nanos()),
        Condition::NoDataFor { silence } => (3, silence.as_nanos(), 0),
    };
    fnv.bytes(&[kind])
        .bytes(&a.to_le_bytes())
        .bytes(&b.to_le_bytes())
        .bytes(&rule.hold.as_nanos().to_le_bytes());
    #[expect(clippy::cast_possible_truncation, reason = "folded first")]
    let folded = (fnv.0 ^ (fnv.0 >> 64) ^ (fnv.0 >> 32)) as u32;
    folded
}

/// All that a rule says, its words included, as eight hexadecimal digits: another rule under the same name is another version of it.
pub(crate) fn version(rule: &Rule) -> SmolStr {
    let mut fnv = Fnv(OFFSET);
    fnv.text(&format!("{rule:?}"));
    let folded = fnv.0 ^ (fnv.0 >> 64) ^ (fnv.0 >> 32);
    format_smolstr!("{:08x}", folded & 0xffff_ffff)
}

/// The id of the alert of a rule on a series that began then.
pub(crate) fn id(fingerprint: u32, rule: &str, series: &str, began: Timestamp) -> SmolStr {
    let mut fnv = Fnv(OFFSET);
    fnv.text(rule).text(series).bytes(&began.0.to_le_bytes());
    format_smolstr!("{fingerprint:08x}-{:024x}", fnv.0 >> 32)
}

/// Whether an alert with this id came from a rule that asks the same.
pub(crate) fn is_of(id: &str, fingerprint: u32) -> bool {
    id.split_once('-')
        .is_some_and(|(rule, _)| rule == format!("{fingerprint:08x}"))
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, time::Duration};

    use super::*;
    use crate::alert::{Life, Severity};

    fn rule(limit: f64) -> Rule {
        Rule {
            name: "hot".into(),
            series: "*/temperature".into(),
            condition: Condition::Above {
                limit,
                clear: limit,
            },
            hold: Duration::ZERO,
            severity: Severity::Warning,
            summary: String::new(),
            webhooks: Vec::new(),
            labels: BTreeMap::new(),
            life: Life::default(),
        }
    }

    #[test]
    fn an_id_is_the_same_for_ever() {
        // Ids are on disk: if this changes, alerts that fire over an upgrade are lost.
        assert_eq!(
            id(
                fingerprint(&rule(90.0)),
                "hot",
                "boiler/temperature",
                Timestamp(1)
            ),
            EXPECTED
        );
    }

    const EXPECTED: &str = "6b98884e-125a298c21504f0f8b59478f";

    #[test]
    fn a_rule_that_asks_something_else_is_told_apart_and_new_words_are_not() {
        let (old, new) = (fingerprint(&rule(90.0)), fingerprint(&rule(91.0)));
        let alert = id(old, "hot", "a/b", Timestamp(1));
        assert!(is_of(&alert, old) && !is_of(&alert, new));
        let mut reworded = rule(90.0);
        reworded.summary = "call the plumber".into();
        assert_eq!(fingerprint(&reworded), old);
        assert_ne!(version(&reworded), version(&rule(90.0)));
        assert_eq!(version(&rule(90.0)), version(&rule(90.0)));
    }
}
