//! The stream as gzip (RFC 1952), flushed at every event and compressed once for all who hear the same.
//!
//! A compressor for each client would cost each of them a quarter of a megabyte and the gateway the same work again and again.
//! So there is one. Each piece of the stream is made into deflate blocks of its own that end on a byte (RFC 1951) and look
//! back at nothing before them; so they are the same in every stream, and a stream is a header, such pieces one after the
//! other, and the checksum at its end, which is put together from those of the pieces.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
};

use bytes::Bytes;
use crc32fast::Hasher;
use flate2::{Compress, Compression, FlushCompress};
use prometheus_client::metrics::counter::Counter;

/// Pieces that are kept for others who hear the same.
const MAX_KEPT: usize = 128;
/// Their bytes at most, both forms of each; a piece that alone has more is not kept.
const MAX_KEPT_BYTES: usize = 2 << 20;
/// A shorter piece is stored as it is.
const MIN_BYTES: usize = 96;
/// What a stored block holds at most.
const MAX_STORED: usize = 0xffff;
/// No name, no time, any system.
const HEADER: [u8; 10] = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff];
/// An empty last block.
const LAST: [u8; 2] = [3, 0];

/// A piece of a stream, compressed.
#[derive(Clone, Debug)]
struct Zipped {
    bytes: Bytes,
    /// Of what it was before.
    checksum: Hasher,
}

/// The one compressor, and the pieces that it made last.
#[derive(Debug, Default)]
pub(super) struct Zips(
    // std: held while one piece is compressed, so that it is compressed once. Never over an await.
    Mutex<Recent>,
);

#[derive(Debug, Default)]
struct Recent {
    compress: Option<Compress>,
    /// What each was before, which keeps its address from being used for another, and what it is.
    pieces: VecDeque<(Bytes, Zipped)>,
    bytes: usize,
}

/// One compressed stream.
#[derive(Debug, Default)]
pub(super) struct Gzip {
    begun: bool,
    ended: bool,
    checksum: Hasher,
    /// Bytes so far, modulo 2^32.
    size: u32,
}

impl Gzip {
    /// The next piece of the stream.
    pub(super) fn piece(&mut self, piece: &Bytes, zips: &Zips, made: &Counter) -> Bytes {
        let zipped = zips.zip(piece, made);
        self.checksum.combine(&zipped.checksum);
        // Only the lower 32 bits are told.
        #[expect(clippy::cast_possible_truncation, reason = "modulo 2^32")]
        let len = piece.len() as u32;
        self.size = self.size.wrapping_add(len);
        if std::mem::replace(&mut self.begun, true) {
            return zipped.bytes;
        }
        [&HEADER[..], &zipped.bytes].concat().into()
    }

    /// The end of the stream, once.
    pub(super) fn end(&mut self) -> Option<Bytes> {
        if std::mem::replace(&mut self.ended, true) || !self.begun {
            return None;
        }
        let checksum = self.checksum.clone().finalize().to_le_bytes();
        let size = self.size.to_le_bytes();
        Some([&LAST[..], &checksum, &size].concat().into())
    }
}

impl Zips {
    fn zip(&self, piece: &Bytes, made: &Counter) -> Zipped {
        if piece.len() < MIN_BYTES {
            return Zipped::new(piece, stored(piece));
        }
        let mut recent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = &mut *recent;
        let same = |of: &Bytes| of.as_ptr() == piece.as_ptr() && of.len() == piece.len();
        if let Some((_, zipped)) = recent.pieces.iter().rev().find(|(of, _)| same(of)) {
            return zipped.clone();
        }
        made.inc();
        let compress = recent
            .compress
            .get_or_insert_with(|| Compress::new(Compression::new(4), false));
        let zipped = Zipped::new(piece, deflated(compress, piece));
        let bytes = piece.len() + zipped.bytes.len();
        if bytes <= MAX_KEPT_BYTES {
            recent.bytes += bytes;
            recent.pieces.push_back((piece.clone(), zipped.clone()));
        }
        while recent.pieces.len() > MAX_KEPT || recent.bytes > MAX_KEPT_BYTES {
            if let Some((of, zipped)) = recent.pieces.pop_front() {
                recent.bytes -= of.len() + zipped.bytes.len();
            }
        }
        zipped
    }
}

impl Zipped {
    fn new(piece: &Bytes, bytes: Vec<u8>) -> Self {
        let mut checksum = Hasher::new();
        checksum.update(piece);
        Self {
            bytes: bytes.into(),
            checksum,
        }
    }
}

/// The piece as deflate blocks without the last one's mark. What does not get shorter is stored.
fn deflated(compress: &mut Compress, piece: &[u8]) -> Vec<u8> {
    compress.reset();
    let mut out = Vec::with_capacity(piece.len() / 2 + 64);
    loop {
        let taken = usize::try_from(compress.total_in()).unwrap_or(usize::MAX);
        let rest = piece.get(taken..).unwrap_or_default();
        let done = compress.compress_vec(rest, &mut out, FlushCompress::Sync);
        if done.is_err() || out.len() > piece.len() {
            return stored(piece);
        }
        // A flush is through when it did not fill the room that it had.
        if compress.total_in() == piece.len() as u64 && out.len() < out.capacity() {
            return out;
        }
        out.reserve(piece.len() / 2 + 64);
    }
}

fn stored(piece: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(piece.len() + 5 * (piece.len() / MAX_STORED + 1));
    for block in piece.chunks(MAX_STORED) {
        let len = u16::try_from(block.len()).unwrap_or(u16::MAX);
        out.push(0);
        out.extend_from_slice(&len.to_le_bytes());
        out.extend_from_slice(&(!len).to_le_bytes());
        out.extend_from_slice(block);
    }
    out
}

/// Whether an `Accept-Encoding` (RFC 9110, 12.5.3) asks for gzip.
pub(super) fn is_asked_for<'a>(accepted: impl IntoIterator<Item = &'a str>) -> bool {
    let (mut gzip, mut any) = (None, None);
    for coding in accepted.into_iter().flat_map(|list| list.split(',')) {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        let weight = weight.trim().strip_prefix("q=").unwrap_or("1");
        let wanted = weight.trim().parse::<f32>().is_ok_and(|q| q > 0.0);
        let name = name.trim();
        if name.eq_ignore_ascii_case("gzip") || name.eq_ignore_ascii_case("x-gzip") {
            gzip = Some(wanted);
        } else if name == "*" {
            any = Some(wanted);
        }
    }
    gzip.or(any).unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use std::io::Read as _;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn gzip_is_used_only_for_who_asks_for_it() {
        for (header, asked) in [
            ("gzip", true),
            ("deflate, GZIP;q=0.5, br", true),
            ("x-gzip", true),
            ("*", true),
            ("gzip;q=0, *", false),
            ("gzip; q=0.0", false),
            ("br, deflate", false),
            ("", false),
            ("identity", false),
            ("gzip;q=nonsense", false),
        ] {
            assert_eq!(is_asked_for([header]), asked, "{header}");
        }
        assert!(!is_asked_for([]));
    }

    #[test]
    fn what_many_hear_is_compressed_once() {
        let (zips, made) = (Zips::default(), Counter::default());
        let piece = Bytes::from("event: readings\ndata: {}\n\n".repeat(20));
        let (mut one, mut other) = (Gzip::default(), Gzip::default());
        one.piece(&piece, &zips, &made);
        let second = one.piece(&piece.clone(), &zips, &made);
        other.piece(&Bytes::from("x".repeat(200)), &zips, &made);
        assert_eq!(other.piece(&piece, &zips, &made), second);
        assert_eq!(made.get(), 2);
        assert!(second.len() < piece.len() / 4, "{}", second.len());
    }

    #[test]
    fn what_is_kept_for_others_is_bounded() {
        let (zips, made) = (Zips::default(), Counter::default());
        let mut gzip = Gzip::default();
        for n in 0..1000 {
            gzip.piece(&Bytes::from(vec![n as u8; 5000]), &zips, &made);
        }
        gzip.piece(&Bytes::from(vec![0; 3 << 20]), &zips, &made);
        let recent = zips.0.lock().unwrap();
        assert!(recent.pieces.len() <= MAX_KEPT && recent.bytes <= MAX_KEPT_BYTES);
        assert!(!recent.pieces.is_empty());
    }

    proptest! {
        /// After each piece its listener can read all of it, and in the end the whole is a good gzip file.
        #[test]
        fn each_piece_can_be_read_when_it_has_come(
            pieces in proptest::collection::vec(
                prop_oneof![
                    proptest::collection::vec(any::<u8>(), 0..400),
                    ("[a-f]{1,9}", 1usize..9000).prop_map(|(s, n)| s.repeat(n).into_bytes()),
                ],
                1..8,
            ),
        ) {
            let (zips, made) = (Zips::default(), Counter::default());
            let mut gzip = Gzip::default();
            let mut reader = flate2::Decompress::new(false);
            let (mut whole, mut sent) = (Vec::new(), Vec::new());
            for piece in pieces {
                whole.extend_from_slice(&piece);
                let zipped = gzip.piece(&Bytes::from(piece.clone()), &zips, &made);
                sent.extend_from_slice(&zipped);
                let body = zipped.strip_prefix(&HEADER[..]).unwrap_or(&zipped);
                let mut read = Vec::with_capacity(piece.len() + 1);
                reader.decompress_vec(body, &mut read, flate2::FlushDecompress::Sync).unwrap();
                prop_assert_eq!(read, piece);
            }
            sent.extend_from_slice(&gzip.end().unwrap());
            prop_assert!(gzip.end().is_none());
            let mut back = Vec::new();
            flate2::read::GzDecoder::new(&sent[..]).read_to_end(&mut back).unwrap();
            prop_assert_eq!(back, whole);
        }
    }
}
