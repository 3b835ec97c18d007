//! Which lines of a body are stored, which are refused for good, and what is to be sent next. Pure.
//!
//! Good lines are sent once where the answer lets it: it names the bad lines, or says how many there are and which field they have
//! in common. Where it says only how many, halves are sent to find them, and what the one half tells of the other is not sent.
//! Where it says nothing, halves are sent until single lines are refused; a line sent twice is the same point.

use super::{
    line::Lines,
    parsed,
    refusal::{Name, Others, Refusal},
};

/// How a body fared.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All of it is stored.
    Stored,
    /// It is larger than the server takes.
    TooLarge,
    /// Some of its lines are refused for good.
    Refused(Refusal),
}

/// Something to be sent: the numbers of lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Item {
    /// Not stored yet, as far as is known.
    Send(Vec<usize>),
    /// Of `lines` and `others` together so many are bad, and the rest is stored already: `lines` are sent again to learn how many
    /// of them are bad, which tells how many of the others are.
    Probe {
        lines: Vec<usize>,
        others: Vec<usize>,
        bad: usize,
        words: String,
    },
}

impl Item {
    /// What to send.
    pub(super) fn lines(&self) -> &[usize] {
        match self {
            Self::Send(lines) | Self::Probe { lines, .. } => lines,
        }
    }
}

/// What came out.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Settled {
    pub(super) stored: Vec<usize>,
    /// With the server's words.
    pub(super) refused: Vec<(usize, String)>,
    /// In the order in which they are to be sent.
    pub(super) next: Vec<Item>,
}

/// What follows from the verdict on the lines of an item. Each of its lines is in one place of the result.
pub(super) fn settle(item: Item, verdict: Verdict, lines: &Lines) -> Settled {
    let mut settled = Settled::default();
    match item {
        Item::Send(sent) => {
            settled.sent(sent, verdict, lines);
        }
        Item::Probe {
            lines: sent,
            others,
            bad,
            words,
        } => match settled.sent(sent, verdict, lines) {
            Some(found) => settled.known(others, bad.saturating_sub(found), &words),
            None => settled.send(others),
        },
    }
    settled
}

impl Settled {
    /// How many of the sent lines are bad, if that is known now.
    fn sent(&mut self, sent: Vec<usize>, verdict: Verdict, lines: &Lines) -> Option<usize> {
        match verdict {
            Verdict::Stored => {
                self.stored.extend(sent);
                Some(0)
            }
            Verdict::TooLarge if sent.len() == 1 => {
                self.refuse(sent, "413: a single line is too large");
                Some(1)
            }
            Verdict::TooLarge => {
                self.halves(sent);
                None
            }
            Verdict::Refused(refusal) => self.refused(sent, &refusal, lines),
        }
    }

    fn refused(&mut self, sent: Vec<usize>, refusal: &Refusal, lines: &Lines) -> Option<usize> {
        let total = refusal.bad_of(sent.len());
        let named = named(refusal, &sent, lines);
        if !named.is_empty() {
            let bad = named.len();
            let is_named = |line: &usize| named.iter().any(|(n, _)| n == line);
            let others: Vec<usize> = sent.iter().copied().filter(|l| !is_named(l)).collect();
            self.refused.extend(named);
            return match (total, refusal.others) {
                (Some(total), _) => {
                    self.known(others, total.saturating_sub(bad), &refusal.words);
                    Some(total.max(bad))
                }
                (None, Others::Stored(_) | Others::AllBut(_)) => {
                    // The numbers contradict each other.
                    self.send(others);
                    None
                }
                (None, _) => {
                    let all = others.is_empty().then_some(bad);
                    self.send(others);
                    all
                }
            };
        }
        if sent.len() == 1 {
            self.refuse(sent, &refusal.words);
            return Some(1);
        }
        let Some(total) = total else {
            self.halves(sent);
            return None;
        };
        let suspects = suspects(refusal, &sent, lines);
        if suspects.len() == total {
            self.stored
                .extend(sent.iter().filter(|l| !suspects.contains(l)));
            self.refuse(suspects, &refusal.words);
        } else {
            self.known(sent, total, &refusal.words);
        }
        Some(total)
    }

    /// So many of the lines are bad; the others are stored.
    fn known(&mut self, mut lines: Vec<usize>, bad: usize, words: &str) {
        if bad == 0 {
            self.stored.extend(lines);
        } else if bad >= lines.len() {
            self.refuse(lines, words);
        } else {
            let others = lines.split_off(lines.len() / 2);
            self.next.push(Item::Probe {
                lines,
                others,
                bad,
                words: words.to_owned(),
            });
        }
    }

    fn refuse(&mut self, lines: Vec<usize>, words: &str) {
        let refused = lines.into_iter().map(|line| (line, words.to_owned()));
        self.refused.extend(refused);
    }

    fn halves(&mut self, mut lines: Vec<usize>) {
        let second = lines.split_off(lines.len() / 2);
        self.send(lines);
        self.send(second);
    }

    fn send(&mut self, lines: Vec<usize>) {
        if !lines.is_empty() {
            self.next.push(Item::Send(lines));
        }
    }
}

/// The lines that the answer names, if all of those can be found.
fn named(refusal: &Refusal, sent: &[usize], lines: &Lines) -> Vec<(usize, String)> {
    let mut found: Vec<(usize, String)> = Vec::new();
    for named in &refusal.named {
        let line = match &named.line {
            Name::Number(number) => number.checked_sub(1).and_then(|at| sent.get(at)).copied(),
            Name::Text(text) => sent.iter().copied().find(|&line| {
                lines.line(line).strip_suffix(b"\n") == Some(text.as_bytes())
                    && found.iter().all(|(n, _)| *n != line)
            }),
        };
        match line {
            Some(line) if found.iter().any(|(n, _)| *n == line) => {}
            Some(line) => found.push((line, named.words.clone())),
            None => return Vec::new(),
        }
    }
    found
}

/// The lines that have the field of a type conflict with the type that was refused.
fn suspects(refusal: &Refusal, sent: &[usize], lines: &Lines) -> Vec<usize> {
    let Some(conflict) = &refusal.conflict else {
        return Vec::new();
    };
    let has_it = |&line: &usize| {
        let text = lines.line(line);
        parsed::measurement(text) == conflict.measurement
            && parsed::fields(text)
                .iter()
                .any(|f| f.kind() == conflict.kind && f.metric() == conflict.field)
    };
    sent.iter().copied().filter(has_it).collect()
}

#[cfg(test)]
mod tests;
