//! The ops page, embedded: every file that Vite built, with what a server needs to send it.
//!
//! The build script makes the page (see `build.rs`); this crate only looks files up. It promises that
//! `index.html` is there and that every file has a content type and an entity tag. It serves nothing itself and
//! knows nothing of HTTP beyond the words in [`Asset`].

use std::borrow::Cow;

/// One file of the page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asset {
    /// What it holds, not compressed.
    pub bytes: Cow<'static, [u8]>,
    /// Its `Content-Type`, with the character set for texts.
    pub mime: String,
    /// A strong `ETag`, with the quotes that the header needs. It changes with the bytes and with nothing else.
    pub etag: String,
    /// Whether the file may be kept for good: its name holds a hash of its content. The others, `index.html`
    /// above all, must be asked for again each time.
    pub immutable: bool,
}

/// The file at `path`, without a leading slash: `index.html`, `assets/index-….js`. `None` when there is none;
/// folders are none either, so a server says itself that `/` means `index.html`.
#[must_use]
pub fn asset(path: &str) -> Option<Asset> {
    let at = FILES.binary_search_by(|file| file.path.cmp(path)).ok()?;
    let file = FILES.get(at)?;
    Some(Asset {
        bytes: Cow::Borrowed(file.bytes),
        mime: file.mime.to_owned(),
        etag: file.etag.to_owned(),
        immutable: file.path.starts_with("assets/"),
    })
}

/// A row of the list that the build script writes.
struct File {
    path: &'static str,
    bytes: &'static [u8],
    mime: &'static str,
    etag: &'static str,
}

/// Sorted by path.
static FILES: &[File] = &include!(concat!(env!("OUT_DIR"), "/files.rs"));

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn index() -> String {
        let index = asset("index.html").expect("the page has an index");
        String::from_utf8(index.bytes.into_owned()).expect("it is UTF-8")
    }

    /// What `index.html` asks for, without `./`.
    fn references() -> Vec<String> {
        let html = index();
        html.split("=\"./")
            .skip(1)
            .filter_map(|rest| Some(rest.split_once('"')?.0.to_owned()))
            .collect()
    }

    #[test]
    fn the_index_is_html_and_is_asked_for_each_time() {
        let index = asset("index.html").expect("the page has an index");
        assert_eq!(index.mime, "text/html; charset=utf-8");
        assert!(!index.immutable);
        assert!(index.bytes.starts_with(b"<!doctype html>"));
    }

    #[test]
    fn everything_that_the_index_asks_for_is_embedded() {
        let references = references();
        assert!(references.iter().any(|path| path.ends_with(".js")));
        assert!(references.iter().any(|path| path.ends_with(".css")));
        assert!(references.iter().any(|path| path.ends_with(".svg")));
        for path in references {
            let asset = asset(&path).unwrap_or_else(|| panic!("{path} is not embedded"));
            assert!(!asset.bytes.is_empty(), "{path} is empty");
        }
    }

    #[test]
    fn hashed_files_are_immutable_and_no_others() {
        for file in FILES {
            let immutable = asset(file.path).is_some_and(|asset| asset.immutable);
            assert_eq!(immutable, file.path.starts_with("assets/"), "{}", file.path);
        }
        assert!(FILES.iter().any(|file| file.path.starts_with("assets/")));
    }

    #[test]
    fn entity_tags_are_quoted_and_differ() {
        let tags: HashSet<_> = FILES.iter().map(|file| file.etag).collect();
        assert_eq!(tags.len(), FILES.len());
        for tag in tags {
            assert!(
                tag.len() > 2 && tag.starts_with('"') && tag.ends_with('"'),
                "{tag}"
            );
        }
    }

    #[test]
    fn the_list_is_sorted_so_that_the_search_finds_all() {
        assert!(FILES.is_sorted_by(|a, b| a.path < b.path));
    }

    #[test]
    fn what_is_not_a_file_of_the_page_is_none() {
        for path in [
            "",
            "/",
            "/index.html",
            "assets",
            "assets/",
            "../Cargo.toml",
            "index.htm",
        ] {
            assert_eq!(asset(path), None, "{path:?}");
        }
    }

    #[test]
    fn the_page_asks_no_other_host_and_has_nothing_inline() {
        let html = index();
        assert!(!html.contains("://"), "an address of another host");
        assert!(!html.contains("<style"), "an inline style");
        assert!(!html.contains("style="), "an inline style");
        for script in html.split("<script").skip(1) {
            assert!(
                script
                    .split('>')
                    .next()
                    .is_some_and(|tag| tag.contains("src=")),
                "an inline script"
            );
        }
    }
}
