//! The ops page.

use std::borrow::Cow;

/// One file of the page.
#[derive(Clone, Debug)]
pub struct Asset {
    /// Its content.
    pub bytes: Cow<'static, [u8]>,
    /// Its media type.
    pub mime: String,
    /// Quoted, strong.
    pub etag: String,
    /// Whether its name changes with its content.
    pub immutable: bool,
}

/// The file at `path`, without a leading slash.
#[must_use]
pub fn asset(path: &str) -> Option<Asset> {
    let (text, mime, immutable) = match path {
        "index.html" => (
            "<!doctype html><title>Gateway</title>",
            "text/html; charset=utf-8",
            false,
        ),
        "assets/app-0.js" => ("'use strict';", "text/javascript", true),
        _ => return None,
    };
    Some(Asset {
        bytes: Cow::Borrowed(text.as_bytes()),
        mime: mime.to_owned(),
        etag: format!("\"{path}\""),
        immutable,
    })
}
