//! Bytes to lines: newline framing with a maximum length that finds its way back after garbage.
//!
//! - LF, CR and CR LF all end a line: a CR or an LF ends it, and empty lines are skipped, so it does not matter
//!   where a read cut CR LF in two. Instruments that end their lines with CR alone just work.
//! - A line of exactly the maximum length is a line. A longer one gives exactly one [`Piece::TooLong`], at the byte
//!   that goes over (noise at the wrong baud rate may never send a line end); what follows is skipped up to the next
//!   line end, and the line after that is whole again.
//! - After opening in the middle of a line the first piece may be the second half of one. Framing can't know that: it
//!   is passed on, and decoding refuses it if it makes no sense.
//! - At most the maximum length is kept between two calls.
//!
//! Pure; whether the bytes are text is not looked at.

/// What a line came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// A whole line without its end; never empty.
    Line(&'a [u8]),
    /// A line over the maximum: its first bytes, as many as the maximum. The rest is skipped.
    TooLong(&'a [u8]),
}

/// Cuts a stream of bytes into lines.
#[derive(Debug)]
pub struct Framer {
    max: usize,
    /// The beginning of a line whose end has not come yet; at most `max` bytes.
    partial: Vec<u8>,
    /// In an over-long line that was reported: everything up to its end is skipped.
    skipping: bool,
}

impl Framer {
    /// Lines of at most `max` bytes, their ends not counted; at least 1.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            max: max.max(1),
            partial: Vec::new(),
            skipping: false,
        }
    }

    /// Takes the next bytes in any chunking and emits what they complete, in order.
    pub fn push(&mut self, mut chunk: &[u8], mut emit: impl FnMut(Piece<'_>)) {
        while let Some(end) = chunk.iter().position(|b| matches!(b, b'\n' | b'\r')) {
            let (line, rest) = (&chunk[..end], &chunk[end + 1..]);
            chunk = rest;
            if self.skipping {
                self.skipping = false;
            } else if self.partial.is_empty() {
                self.whole(line, &mut emit);
            } else if self.extend(line, &mut emit) {
                emit(Piece::Line(&self.partial));
                self.partial.clear();
            } else {
                self.skipping = false;
            }
        }
        if !self.skipping {
            self.extend(chunk, &mut emit);
        }
    }

    /// The stream ended: gives back the half line that was waiting for its end, if there was one, and starts afresh.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        self.skipping = false;
        let partial = std::mem::take(&mut self.partial);
        (!partial.is_empty()).then_some(partial)
    }

    /// A line that lies in one chunk: emitted without a copy.
    fn whole(&self, line: &[u8], emit: &mut impl FnMut(Piece<'_>)) {
        if line.len() > self.max {
            emit(Piece::TooLong(&line[..self.max]));
        } else if !line.is_empty() {
            emit(Piece::Line(line));
        }
    }

    /// Adds to the partial line. False when that went over the maximum: then it was emitted and is being skipped.
    fn extend(&mut self, bytes: &[u8], emit: &mut impl FnMut(Piece<'_>)) -> bool {
        let room = self.max - self.partial.len();
        self.partial
            .extend_from_slice(&bytes[..bytes.len().min(room)]);
        if bytes.len() <= room {
            return true;
        }
        emit(Piece::TooLong(&self.partial));
        self.partial.clear();
        self.skipping = true;
        false
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// `Ok` a line, `Err` the head of an over-long one.
    type Pieces = Vec<Result<Vec<u8>, Vec<u8>>>;

    fn collect(framer: &mut Framer, chunk: &[u8], into: &mut Pieces) {
        framer.push(chunk, |piece| {
            into.push(match piece {
                Piece::Line(line) => Ok(line.to_vec()),
                Piece::TooLong(head) => Err(head.to_vec()),
            });
        });
    }

    fn frame(max: usize, chunks: &[&[u8]]) -> Pieces {
        let mut framer = Framer::new(max);
        let mut pieces = Vec::new();
        for chunk in chunks {
            collect(&mut framer, chunk, &mut pieces);
        }
        pieces
    }

    fn line(text: &str) -> Result<Vec<u8>, Vec<u8>> {
        Ok(text.as_bytes().to_vec())
    }

    #[test]
    fn all_line_ends_are_taken_and_empty_lines_are_skipped() {
        assert_eq!(
            frame(80, &[b"a\nb\r\n\r\n\nc\rd\r", b"\ne"]),
            [line("a"), line("b"), line("c"), line("d")]
        );
    }

    #[test]
    fn a_line_over_the_maximum_is_reported_once_and_its_neighbours_survive() {
        let too_long = Err(b"1234".to_vec());
        assert_eq!(
            frame(4, &[b"good\n12345678\nnext\n"]),
            [line("good"), too_long.clone(), line("next")]
        );
        assert_eq!(
            frame(
                4,
                &[b"good\n1", b"23", b"456", b"78901", b"2345\nne", b"xt\n"]
            ),
            [line("good"), too_long, line("next")]
        );
    }

    #[test]
    fn a_half_line_comes_back_at_the_end_and_the_framer_starts_afresh() {
        let mut framer = Framer::new(4);
        framer.push(b"ab", |_| {});
        assert_eq!(framer.finish(), Some(b"ab".to_vec()));
        assert_eq!(framer.finish(), None);
        framer.push(b"123456", |_| {});
        assert_eq!(framer.finish(), None);
        let mut pieces = Vec::new();
        collect(&mut framer, b"ok\n", &mut pieces);
        assert_eq!(pieces, [line("ok")]);
    }

    /// What the framer must do, said in the slow and obvious way over the whole input.
    fn model(max: usize, input: &[u8]) -> Pieces {
        let mut lines: Vec<&[u8]> = input.split(|b| matches!(b, b'\n' | b'\r')).collect();
        let tail = lines.pop().unwrap_or_default();
        let mut pieces: Pieces = lines
            .into_iter()
            .filter(|line| !line.is_empty())
            .map(|line| {
                if line.len() > max {
                    Err(line[..max].to_vec())
                } else {
                    Ok(line.to_vec())
                }
            })
            .collect();
        if tail.len() > max {
            pieces.push(Err(tail[..max].to_vec()));
        }
        pieces
    }

    proptest! {
        #[test]
        fn any_bytes_in_any_chunking_give_the_same_lines_in_bounded_memory(
            input in prop::collection::vec(prop_oneof![
                3 => any::<u8>(), 1 => Just(b'\n'), 1 => Just(b'\r'), 4 => b'a'..=b'z',
            ], 0..400),
            cuts in prop::collection::vec(1_usize..40, 1..60),
            max in 1_usize..24,
        ) {
            let mut framer = Framer::new(max);
            let mut pieces = Vec::new();
            let mut rest = input.as_slice();
            for cut in cuts.iter().cycle() {
                if rest.is_empty() {
                    break;
                }
                let (chunk, after) = rest.split_at((*cut).min(rest.len()));
                collect(&mut framer, chunk, &mut pieces);
                prop_assert!(framer.partial.len() <= max);
                rest = after;
            }
            prop_assert_eq!(pieces, model(max, &input));
        }
    }
}
