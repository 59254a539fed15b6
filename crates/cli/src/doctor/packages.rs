//! Installed Debian packages, and how Debian orders versions.

use std::{
    cmp::Ordering,
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

/// The version of each installed source package, by its name. If its binary packages differ, the oldest version.
pub(super) type Packages = BTreeMap<String, String>;

/// The packages of a machine, or of an image that was copied together without a package manager. Empty where there are
/// none.
pub(super) fn installed(root: &Path) -> Packages {
    let directory = root.join("var/lib/dpkg");
    let copied = fs::read_dir(directory.join("status.d")).into_iter().flatten().flatten().map(|entry| entry.path());
    let files: Vec<PathBuf> = copied.chain([directory.join("status")]).collect();
    let texts: Vec<String> = files.iter().filter_map(|file| fs::read_to_string(file).ok()).collect();
    parse(&texts.join("\n\n"))
}

fn parse(status: &str) -> Packages {
    let mut packages = Packages::new();
    for entry in status.split("\n\n") {
        let field = |name: &str| entry.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
        let (Some(package), Some(version)) = (field("Package:"), field("Version:")) else { continue };
        if field("Status:").is_some_and(|status| !status.ends_with(" installed")) {
            continue;
        }
        // The source has a version of its own where that differs, in parentheses.
        let source = field("Source:").unwrap_or(package);
        let (source, version) = match source.split_once(" (") {
            Some((source, own)) => (source, own.trim_end_matches(')')),
            None => (source, version),
        };
        let known = packages.entry(source.to_owned()).or_insert_with(|| version.to_owned());
        if compare(version, known) == Ordering::Less {
            version.clone_into(known);
        }
    }
    packages
}

/// The version that the authors gave, without Debian's epoch and revision.
pub(super) fn upstream(version: &str) -> &str {
    let version = version.split_once(':').map_or(version, |(_, version)| version);
    version.rsplit_once('-').map_or(version, |(upstream, _)| upstream)
}

/// Orders versions as `dpkg --compare-versions` does.
pub(super) fn compare(one: &str, other: &str) -> Ordering {
    let parts = |version: &str| {
        let (epoch, rest) = version.split_once(':').unwrap_or(("0", version));
        let (upstream, revision) = rest.rsplit_once('-').unwrap_or((rest, ""));
        (epoch.parse::<u64>().unwrap_or(0), upstream.to_owned(), revision.to_owned())
    };
    let ((epoch, upstream, revision), (other_epoch, other_upstream, other_revision)) = (parts(one), parts(other));
    epoch
        .cmp(&other_epoch)
        .then_with(|| compare_part(&upstream, &other_upstream))
        .then_with(|| compare_part(&revision, &other_revision))
}

/// Compares text and numbers in turn. A tilde is before everything, even the end; letters are before other characters.
fn compare_part(mut one: &str, mut other: &str) -> Ordering {
    fn weight(c: Option<char>) -> i32 {
        match c {
            Some('~') => -1,
            Some(c) if c.is_ascii_digit() => 0,
            None => 0,
            Some(c) if c.is_ascii_alphabetic() => c as i32,
            Some(c) => c as i32 + 256,
        }
    }
    fn split(text: &str, digits: bool) -> (&str, &str) {
        text.split_at(text.find(|c: char| c.is_ascii_digit() != digits).unwrap_or(text.len()))
    }
    while !one.is_empty() || !other.is_empty() {
        let ((text, rest), (other_text, other_rest)) = (split(one, false), split(other, false));
        let (mut letters, mut other_letters) = (text.chars(), other_text.chars());
        loop {
            let (c, other) = (letters.next(), other_letters.next());
            match weight(c).cmp(&weight(other)) {
                Ordering::Equal if c.is_none() && other.is_none() => break,
                Ordering::Equal => {}
                unequal => return unequal,
            }
        }
        let ((number, rest), (other_number, other_rest)) = (split(rest, true), split(other_rest, true));
        let (number, other_number) = (number.trim_start_matches('0'), other_number.trim_start_matches('0'));
        let order = number.len().cmp(&other_number.len()).then_with(|| number.cmp(other_number));
        if order != Ordering::Equal {
            return order;
        }
        (one, other) = (rest, other_rest);
    }
    Ordering::Equal
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered_as_dpkg_orders_them() {
        let ascending = [
            "1.22.0~rc1-1",
            "1.22.0-2",
            "1.22.0-5",
            "1.22.0-5ubuntu1",
            "1.22.0-5+deb12u1",
            "1.22.0-5+deb12u9",
            "1.22.0-5+deb12u10",
            "1.22.0-6",
            "1.22.9-1",
            "1.22.10-1",
            "1:1.0-1",
            "7:5.1.9-0+deb12u1",
        ];
        for (index, one) in ascending.iter().enumerate() {
            for (other_index, other) in ascending.iter().enumerate() {
                assert_eq!(compare(one, other), index.cmp(&other_index), "{one} {other}");
            }
        }
        assert_eq!(compare("1.0", "1.00-0"), Ordering::Equal);
        assert_eq!(upstream("7:5.1.9-0+deb12u1"), "5.1.9");
        assert_eq!(upstream("1.28.5"), "1.28.5");
    }

    #[test]
    fn the_oldest_installed_version_of_a_source_counts() {
        let status = "Package: gstreamer1.0-plugins-good\nStatus: install ok installed\nSource: gst-plugins-good1.0\n\
                      Version: 1.22.0-5+deb12u4\n\n\
                      Package: gstreamer1.0-gtk3\nStatus: install ok installed\n\
                      Source: gst-plugins-good1.0 (1.22.0-5)\n\
                      Version: 1.22.0-5+b1\n\n\
                      Package: gstreamer1.0-qt5\nStatus: deinstall ok config-files\nSource: gst-plugins-good1.0\n\
                      Version: 1.18.0-1\n\n\
                      Package: ffmpeg\nStatus: install ok installed\nDescription: Tools\n continued\n\
                      Version: 7:5.1.9-0+deb12u1\n";
        let packages = parse(status);
        assert_eq!(packages["gst-plugins-good1.0"], "1.22.0-5");
        assert_eq!(packages["ffmpeg"], "7:5.1.9-0+deb12u1");
        assert_eq!(packages.len(), 2);
    }

    #[test]
    fn an_image_without_a_package_manager_has_a_file_for_each_package() {
        let root = std::env::temp_dir().join(format!("clipfleet-packages-{}", std::process::id()));
        let directory = root.join("var/lib/dpkg/status.d");
        fs::create_dir_all(&directory).unwrap();
        let entry = "Package: gstreamer1.0-libav\nStatus: install ok installed\nSource: gst-libav1.0\n\
                     Version: 1.28.2-1\n";
        fs::write(directory.join("gstreamer1.0-libav"), entry).unwrap();
        let found = installed(&root);
        fs::remove_dir_all(&root).unwrap();
        assert_eq!(found, Packages::from([("gst-libav1.0".into(), "1.28.2-1".into())]));
        assert_eq!(installed(&root), Packages::new());
    }
}
