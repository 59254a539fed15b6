//! The web console and its browser client (`web/clipfleet.js`), as files for an HTTP server to serve. Browsers run them
//! as they are: there is no build step and there are no packages. They send requests only to their own server and to
//! the storage that the server names.
//!
//! This crate does not depend on an HTTP server, a fleet or a cloud.

use flate2::{Compression, write::GzEncoder};
use sha2::{Digest as _, Sha256};
use std::io::Write as _;

/// One file of the console.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Its name, relative to the URL of the console.
    pub name: &'static str,
    /// Value of the header `Content-Type`.
    pub content_type: &'static str,
    /// Its content.
    pub bytes: &'static [u8],
}

impl File {
    /// Value of the header `ETag`. It changes with the content.
    pub fn etag(&self) -> String {
        format!("\"{}\"", hex::encode(&Sha256::digest(self.bytes)[..12]))
    }

    /// Its content with `Content-Encoding: gzip`, for the clients that accept it. `None` for a font, which is
    /// compressed already.
    pub fn gzip(&self) -> Option<Vec<u8>> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
        (self.content_type != FONT)
            .then(|| encoder.write_all(self.bytes).and_then(|()| encoder.finish()).ok())
            .flatten()
    }
}

/// The HTML page, which is also served for the directory.
pub const INDEX: &str = "index.html";

/// The file from which the page reads the settings of its server; see crates/console/README.md.
pub const SETTINGS: &str = "settings.json";

macro_rules! files {
    ($($name:literal: $content_type:expr,)*) => {
        /// Every file of the console.
        pub const FILES: &[File] = &[
            $(File { name: $name, content_type: $content_type, bytes: include_bytes!(concat!("../web/", $name)) },)*
        ];
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";
const FONT: &str = "font/woff2";
const TEXT: &str = "text/plain; charset=utf-8";

files! {
    "index.html": HTML,
    "console.css": CSS,
    "editor.css": CSS,
    "exports.css": CSS,
    "icon.svg": SVG,
    "inter.woff2": FONT,
    "inter-LICENSE.txt": TEXT,
    "clipfleet.js": SCRIPT,
    "reframe.js": SCRIPT,
    "main.js": SCRIPT,
    "draft.js": SCRIPT,
    "blocks.js": SCRIPT,
    "clips.js": SCRIPT,
    "database.js": SCRIPT,
    "drafts.js": SCRIPT,
    "entrance.js": SCRIPT,
    "field.js": SCRIPT,
    "filmstrip.js": SCRIPT,
    "keys.js": SCRIPT,
    "output.js": SCRIPT,
    "overview.js": SCRIPT,
    "panel.js": SCRIPT,
    "playback.js": SCRIPT,
    "pointer.js": SCRIPT,
    "progress.js": SCRIPT,
    "resumable.js": SCRIPT,
    "slider.js": SCRIPT,
    "thumbnail.js": SCRIPT,
    "toast.js": SCRIPT,
    "undo.js": SCRIPT,
    "upload.js": SCRIPT,
    "view.js": SCRIPT,
    "waveform.js": SCRIPT,
    "workplace.js": SCRIPT,
    "editor.js": SCRIPT,
    "batch.js": SCRIPT,
    "card.js": SCRIPT,
    "connection.js": SCRIPT,
    "feed.js": SCRIPT,
    "history.js": SCRIPT,
    "notifications.js": SCRIPT,
    "player.js": SCRIPT,
    "posters.js": SCRIPT,
    "running.js": SCRIPT,
    "summary.js": SCRIPT,
    "words.js": SCRIPT,
    "fleet.js": SCRIPT,
    "framing.js": SCRIPT,
    "launch.js": SCRIPT,
    "links.js": SCRIPT,
    "session.js": SCRIPT,
    "source.js": SCRIPT,
    "timeline.js": SCRIPT,
    "ui.js": SCRIPT,
}

/// Value of the header `Content-Security-Policy`. Scripts, styles and the font come only from the page's own server,
/// and none are inline. Videos, pictures and uploads may also use `storage`: origins such as
/// `https://storage.googleapis.com`.
pub fn content_security_policy(storage: &[&str]) -> String {
    let storage = storage.join(" ");
    let also = |own: &str| format!("{own} {storage}").trim_end().to_owned();
    let (pictures, videos, calls) = (also("'self' blob:"), also("'self' blob:"), also("'self'"));
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src {pictures}; \
         media-src {videos}; connect-src {calls}; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The maximum size of the console in bytes, without its font, as it is written and as it is sent.
    const MAX_BYTES: usize = 300_000;
    const MAX_SENT_BYTES: usize = 110_000;

    /// The maximum size of the font in bytes. The page is readable before the font has arrived.
    const MAX_FONT_BYTES: usize = 60_000;

    fn text(file: &File) -> &'static str {
        std::str::from_utf8(file.bytes).unwrap()
    }

    #[test]
    fn the_console_is_small() {
        let (fonts, others): (Vec<&File>, Vec<&File>) = FILES.iter().partition(|file| file.content_type == FONT);
        let size = |files: &[&File]| files.iter().map(|file| file.bytes.len()).sum::<usize>();
        let (font_bytes, bytes) = (size(&fonts), size(&others));
        assert!((10_000..MAX_BYTES).contains(&bytes), "the console has {bytes} bytes");
        assert!((10_000..MAX_FONT_BYTES).contains(&font_bytes), "the font has {font_bytes} bytes");
        let sent: usize = others.iter().filter_map(|file| file.gzip()).map(|bytes| bytes.len()).sum();
        assert!((10_000..MAX_SENT_BYTES).contains(&sent), "{sent} bytes are sent");
    }

    #[test]
    fn every_file_of_the_directory_is_served() {
        let directory = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/web")).unwrap();
        let mut present: Vec<_> = directory.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut served: Vec<_> = FILES.iter().map(|file| file.name.to_owned()).collect();
        present.sort();
        served.sort();
        assert_eq!(present, served);
    }

    #[test]
    fn nothing_is_loaded_from_other_servers_and_nothing_is_inline() {
        for file in FILES.iter().filter(|file| [HTML, CSS, SCRIPT].contains(&file.content_type)) {
            for line in text(file).lines().filter(|line| line.contains("://")) {
                // The XML namespace of SVG, URIs of Cloud Storage, and placeholders.
                let allowed = ["http://www.w3.org/2000/svg", "gs://", "`://`"].iter().any(|known| line.contains(known));
                assert!(allowed, "{}: {line}", file.name);
            }
        }
        let page = text(FILES.iter().find(|file| file.name == INDEX).unwrap());
        for inline in ["<style", " style=", " onclick=", "javascript:"] {
            assert!(!page.contains(inline), "the content security policy would refuse {inline}");
        }
        assert!(page.matches("<script").count() == page.matches("<script type=\"module\" src=").count());
    }

    /// Otherwise a browser finds modules one import after another, each a round trip later.
    #[test]
    fn every_module_is_preloaded() {
        let page = text(FILES.iter().find(|file| file.name == INDEX).unwrap());
        for file in FILES.iter().filter(|file| file.content_type == SCRIPT && file.name != "main.js") {
            let link = format!("<link rel=\"modulepreload\" href=\"{}\">", file.name);
            assert!(page.contains(&link), "index.html lacks {link}");
        }
    }

    #[test]
    fn every_imported_module_is_served() {
        for file in FILES.iter().filter(|file| file.content_type == SCRIPT) {
            for line in text(file).lines().filter(|line| line.starts_with("import ") || line.starts_with("} from ")) {
                let from = line.split('\'').nth(1).unwrap_or_else(|| panic!("{}: {line}", file.name));
                let served = FILES.iter().any(|other| from.strip_prefix("./") == Some(other.name));
                assert!(served, "{} imports {from}", file.name);
            }
        }
    }

    #[test]
    fn a_tag_changes_with_the_content() {
        let file = FILES[0];
        let changed = File { bytes: b"other", ..file };
        assert_eq!(file.etag(), FILES[0].etag());
        assert_ne!(file.etag(), changed.etag());
        assert!(file.etag().starts_with('"') && file.etag().ends_with('"'));
    }

    #[test]
    fn the_policy_allows_the_storage_and_no_other_server() {
        let policy = content_security_policy(&["http://127.0.0.1:8085"]);
        assert!(policy.contains("connect-src 'self' http://127.0.0.1:8085;"), "{policy}");
        assert!(policy.contains("script-src 'self';") && policy.contains("font-src 'self';"), "{policy}");
        assert!(!policy.contains("unsafe"), "{policy}");
        assert!(content_security_policy(&[]).contains("connect-src 'self';"));
    }
}
