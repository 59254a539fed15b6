//! The web page that people export with, and the browser client it is built on (`web/clipfleet.js`), as files for an HTTP server to
//! offer. They are written for browsers as they are: no build step, no packages, no request to anywhere but their own server and the
//! storage that it names.
//!
//! It knows nothing of HTTP servers, fleets or clouds.

use sha2::{Digest as _, Sha256};

/// One file of the page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct File {
    /// Its name, relative to where the page is served.
    pub name: &'static str,
    /// For the header `Content-Type`.
    pub content_type: &'static str,
    /// What is in it.
    pub bytes: &'static [u8],
}

impl File {
    /// For the header `ETag`: changes with the content.
    pub fn etag(&self) -> String {
        format!("\"{}\"", hex::encode(&Sha256::digest(self.bytes)[..12]))
    }
}

/// The page itself; served for the folder, too.
pub const INDEX: &str = "index.html";

/// Where the page asks for what only its server knows; see crates/console/README.md.
pub const SETTINGS: &str = "settings.json";

macro_rules! files {
    ($($name:literal: $content_type:expr,)*) => {
        /// Every file of the page.
        pub const FILES: &[File] = &[
            $(File { name: $name, content_type: $content_type, bytes: include_bytes!(concat!("../web/", $name)) },)*
        ];
    };
}

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";
const SVG: &str = "image/svg+xml";

files! {
    "index.html": HTML,
    "console.css": CSS,
    "icon.svg": SVG,
    "clipfleet.js": SCRIPT,
    "reframe.js": SCRIPT,
    "main.js": SCRIPT,
    "draft.js": SCRIPT,
    "editor.js": SCRIPT,
    "exports.js": SCRIPT,
    "fleet.js": SCRIPT,
    "framing.js": SCRIPT,
    "source.js": SCRIPT,
    "timeline.js": SCRIPT,
    "ui.js": SCRIPT,
}

/// For the header `Content-Security-Policy`: scripts and styles from the page's own server only, none inline; videos, pictures and uploads
/// from and to `storage`, too, which are origins such as `https://storage.googleapis.com`.
pub fn content_security_policy(storage: &[&str]) -> String {
    let storage = storage.join(" ");
    let also = |own: &str| format!("{own} {storage}").trim_end().to_owned();
    let (pictures, videos, calls) = (also("'self' blob:"), also("'self' blob:"), also("'self'"));
    format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src {pictures}; media-src {videos}; connect-src {calls}; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The most that the page may weigh, bytes.
    const WEIGHT: usize = 150_000;

    fn text(file: &File) -> &'static str {
        std::str::from_utf8(file.bytes).unwrap()
    }

    #[test]
    fn the_page_is_light() {
        let weight: usize = FILES.iter().map(|file| file.bytes.len()).sum();
        assert!((10_000..WEIGHT).contains(&weight), "the page weighs {weight} bytes");
    }

    #[test]
    fn every_file_of_the_folder_is_offered() {
        let folder = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/web")).unwrap();
        let mut there: Vec<_> = folder.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        let mut offered: Vec<_> = FILES.iter().map(|file| file.name.to_owned()).collect();
        there.sort();
        offered.sort();
        assert_eq!(there, offered);
    }

    #[test]
    fn nothing_comes_from_elsewhere_and_nothing_is_inline() {
        for file in FILES.iter().filter(|file| file.content_type != SVG) {
            for line in text(file).lines().filter(|line| line.contains("://")) {
                // A name of XML's, places of Google's storage, and placeholders for people.
                let harmless =
                    ["http://www.w3.org/2000/svg", "gs://", "`://`"].iter().any(|known| line.contains(known));
                assert!(harmless, "{}: {line}", file.name);
            }
        }
        let page = text(FILES.iter().find(|file| file.name == INDEX).unwrap());
        for inline in ["<style", " style=", " onclick=", "javascript:"] {
            assert!(!page.contains(inline), "{inline} would be refused by our own policy");
        }
        assert!(page.matches("<script").count() == page.matches("<script type=\"module\" src=").count());
    }

    #[test]
    fn what_modules_import_is_offered() {
        for file in FILES.iter().filter(|file| file.content_type == SCRIPT) {
            for line in text(file).lines().filter(|line| line.starts_with("import ") || line.starts_with("} from ")) {
                let from = line.split('\'').nth(1).unwrap_or_else(|| panic!("{}: {line}", file.name));
                let offered = FILES.iter().any(|other| from.strip_prefix("./") == Some(other.name));
                assert!(offered, "{} imports {from}", file.name);
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
    fn the_policy_names_the_storage_and_nothing_else() {
        let policy = content_security_policy(&["http://127.0.0.1:8085"]);
        assert!(policy.contains("connect-src 'self' http://127.0.0.1:8085;"), "{policy}");
        assert!(policy.contains("script-src 'self';") && !policy.contains("unsafe"), "{policy}");
        assert!(content_security_policy(&[]).contains("connect-src 'self';"));
    }
}
