//! Whether the installed versions have known vulnerabilities, in the elements that the media program has.

use super::{
    advisories::{ADVISORIES, AS_OF, Advisory, BAD, BASE, CORE, FFMPEG, GOOD, LIBAV},
    finding::Finding,
    packages::{self, Packages},
};
use serde_json::Value;
use std::{cmp::Ordering, collections::BTreeSet};

/// The modules with advisories, and the Debian source packages that contain them.
const MODULES: [(&str, &str); 6] = [
    (CORE, "gstreamer1.0"),
    (BASE, "gst-plugins-base1.0"),
    (GOOD, "gst-plugins-good1.0"),
    (BAD, "gst-plugins-bad1.0"),
    (LIBAV, "gst-libav1.0"),
    (FFMPEG, "ffmpeg"),
];

/// A module that is installed.
struct Module<'a> {
    name: &'a str,
    version: String,
    /// The version of its Debian package, if it comes from one.
    package: Option<String>,
}

/// The findings about the modules in the media program's report. `packages` are those of this machine.
pub(super) fn check(modules: &Value, packages: &Packages) -> Vec<Finding> {
    let modules = modules.as_array().map(Vec::as_slice).unwrap_or_default();
    let names = modules.iter().flat_map(|module| module["elements"].as_array().into_iter().flatten());
    let elements: BTreeSet<&str> = names.filter_map(Value::as_str).collect();
    let found = MODULES.iter().filter_map(|(name, source)| {
        let package = packages.get(*source);
        let reported = |name: &str| {
            let module = modules.iter().find(|module| module["name"] == name)?;
            module["version"].as_str().map(ToOwned::to_owned)
        };
        if *name == FFMPEG {
            // GStreamer does not report it. If its plugin is from a package, FFmpeg's libraries are, too.
            let (plugin, package) = (reported(LIBAV)?, package?);
            let (_, source) = MODULES.iter().find(|(name, _)| *name == LIBAV)?;
            packages.get(*source).filter(|package| is_of(package, &plugin))?;
            let version = packages::upstream(package).to_owned();
            return Some(Module { name, version, package: Some(package.clone()) });
        }
        let version = reported(name)?;
        let package = package.filter(|package| is_of(package, &version)).cloned();
        Some(Module { name, version, package })
    });
    found.map(|module| finding(&module, &elements, ADVISORIES)).collect()
}

/// Whether a package contains this version. Otherwise GStreamer was installed from elsewhere.
fn is_of(package: &str, version: &str) -> bool {
    numbers(packages::upstream(package)) == numbers(version)
}

fn finding(module: &Module<'_>, elements: &BTreeSet<&str>, advisories: &[Advisory]) -> Finding {
    let Module { name, version, package } = module;
    let open: Vec<&Advisory> = advisories.iter().filter(|row| concerns(row, module, elements)).collect();
    let from = package.as_ref().map_or(String::new(), |package| format!(" (package {package})"));
    if open.is_empty() {
        return Finding::passed(format!("{name} {version}{from}: no known vulnerabilities in what is used, {AS_OF}"));
    }
    let ids: Vec<&str> = open.iter().flat_map(|row| row.ids).copied().collect();
    let used: BTreeSet<&str> = open.iter().flat_map(|row| row.elements).copied().collect();
    let used: Vec<&str> = used.intersection(elements).copied().collect();
    let what = format!(
        "{name} {version}{from}: {} known {} in {}: {}",
        ids.len(),
        if ids.len() == 1 { "vulnerability" } else { "vulnerabilities" },
        used.join(", "),
        ids.join(", ")
    );
    Finding::note(what, remedy(&open, package.is_some()))
}

fn remedy(open: &[&Advisory], from_a_package: bool) -> String {
    let newest = open.iter().filter_map(|row| row.fixed.last()).max_by_key(|version| numbers(version));
    let unknown: Vec<&str> = open.iter().filter(|row| row.fixed.is_empty()).flat_map(|row| row.ids).copied().collect();
    let mut remedies = Vec::new();
    if from_a_package {
        remedies.push("apt-get upgrade; the distribution may have patched it: see its security tracker".into());
    }
    if let Some(version) = newest {
        remedies.push(format!("{version} and newer have the fix"));
    }
    if !unknown.is_empty() {
        remedies.push(format!("no release with a fix of {} was known on {AS_OF}", unknown.join(", ")));
    }
    remedies.join("; ")
}

/// Whether a module has this vulnerability, as far as is known.
fn concerns(row: &Advisory, module: &Module<'_>, elements: &BTreeSet<&str>) -> bool {
    let Module { name, version, package } = module;
    row.module == *name
        && row.elements.iter().any(|element| elements.contains(element))
        && numbers(version) >= numbers(row.since)
        && !is_fixed(version, row.fixed)
        && !package.as_ref().is_some_and(|package| is_patched(package, row.debian))
}

/// `fixed` has the first version of each series with the fix.
fn is_fixed(version: &str, fixed: &[&str]) -> bool {
    let version = numbers(version);
    let series = |version: &[u64]| version.iter().take(2).copied().collect::<Vec<_>>();
    let in_series = fixed.iter().any(|fixed| {
        let fixed = numbers(fixed);
        version >= fixed && series(&version) == series(&fixed)
    });
    in_series || fixed.last().is_some_and(|last| version >= numbers(last))
}

fn is_patched(package: &str, patched: &[&str]) -> bool {
    patched.iter().any(|patched| {
        packages::upstream(package) == packages::upstream(patched)
            && packages::compare(package, patched) != Ordering::Less
    })
}

/// The numbers at the beginning of a version.
fn numbers(version: &str) -> Vec<u64> {
    version.split('.').map_while(|part| part.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::{super::finding::Verdict, *};
    use serde_json::json;

    const GOOD_SOURCE: &str = "gst-plugins-good1.0";

    fn report(version: &str) -> Value {
        json!([
            {"name": "gstreamer", "version": version, "elements": ["queue", "tee"]},
            {"name": "gst-plugins-good", "version": version, "elements": ["matroskademux", "qtdemux"]},
            {"name": "gst-plugins-bad", "version": version, "elements": ["av1parse", "h264parse", "h265parse"]},
            {"name": "gst-libav", "version": version, "elements": ["avdec_h264"]},
        ])
    }

    fn packages(rows: &[(&str, &str)]) -> Packages {
        rows.iter().map(|(source, version)| ((*source).into(), (*version).into())).collect()
    }

    fn texts(report: &Value, packages: &Packages) -> Vec<(Verdict, String)> {
        check(report, packages).iter().map(|finding| (finding.verdict, format!("{finding:?}"))).collect()
    }

    fn text_of(name: &str, version: &str, rows: &[(&str, &str)]) -> (Verdict, String) {
        let found = texts(&report(version), &packages(rows));
        let begin = format!("what: \"{name} ");
        found.into_iter().find(|(_, text)| text.contains(&begin)).unwrap_or_else(|| panic!("nothing about {name}"))
    }

    #[test]
    fn a_version_before_a_fix_is_found_with_ids_elements_and_remedy() {
        let (verdict, text) = text_of("gst-plugins-good", "1.28.2", &[]);
        assert_eq!(verdict, Verdict::Note);
        for part in ["in matroskademux, qtdemux: ", "CVE-2026-125041", "GStreamer-SA-2026-0065", "1.28.5 and newer"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(text.contains("no release with a fix of CVE-2026-88914 was known on"), "{text}");
        for fixed in ["CVE-2024-47537", "CVE-2026-39043", "apt-get"] {
            assert!(!text.contains(fixed), "{fixed}: {text}");
        }
    }

    #[test]
    fn elements_that_the_program_does_not_have_are_no_concern() {
        let (_, text) = text_of("gst-plugins-bad", "1.26.0", &[]);
        assert!(!text.contains("h266parse") && !text.contains("CVE-2026-3081"), "{text}");
        assert!(!text.contains("jpegparse") && !text.contains("CVE-2026-3082"), "{text}");
        assert!(text.contains("CVE-2025-3887"), "{text}");
        let with_h266 = json!([{"name": "gst-plugins-bad", "version": "1.26.0", "elements": ["h266parse"]}]);
        let found = texts(&with_h266, &Packages::new());
        assert!(found[0].1.contains("3 known vulnerabilities in h266parse: CVE-2026-3081"), "{found:?}");
        let older = json!([{"name": "gst-plugins-bad", "version": "1.24.2", "elements": ["h266parse"]}]);
        assert_eq!(texts(&older, &Packages::new())[0].0, Verdict::Passed, "the parser of 1.24 does not exist");
    }

    #[test]
    fn fixes_of_the_distribution_count() {
        let patched = text_of("gst-plugins-good", "1.22.0", &[(GOOD_SOURCE, "1.22.0-5+deb12u4")]).1;
        assert!(patched.contains("(package 1.22.0-5+deb12u4)"), "{patched}");
        for fixed in ["CVE-2024-47537", "CVE-2025-47183", "CVE-2026-39043", "CVE-2026-88914"] {
            assert!(!patched.contains(fixed), "{fixed}: {patched}");
        }
        assert!(patched.contains("CVE-2026-46471") && patched.contains("the distribution may have patched it"));
        let older = text_of("gst-plugins-good", "1.22.0", &[(GOOD_SOURCE, "1.22.0-5+deb12u2")]).1;
        assert!(!older.contains("CVE-2024-47537") && older.contains("CVE-2026-39043"), "{older}");
        let unpatched = text_of("gst-plugins-good", "1.22.0", &[(GOOD_SOURCE, "1.22.0-5+deb12u1")]).1;
        assert!(unpatched.contains("CVE-2024-47537"), "{unpatched}");
    }

    #[test]
    fn a_package_that_gstreamer_does_not_come_from_says_nothing() {
        let (_, text) = text_of("gst-plugins-good", "1.28.2", &[(GOOD_SOURCE, "1.22.0-5+deb12u4")]);
        assert!(!text.contains("deb12u4") && text.contains("CVE-2026-88914"), "{text}");
    }

    #[test]
    fn a_module_without_vulnerabilities_passes() {
        assert_eq!(text_of("gstreamer", "1.24.10", &[]).0, Verdict::Passed);
        assert_eq!(text_of("gstreamer", "1.24.9", &[]).0, Verdict::Note);
        let core = [("gstreamer1.0", "1.22.0-2+deb12u1")];
        assert_eq!(text_of("gstreamer", "1.22.0", &core).0, Verdict::Passed);
        assert!(texts(&Value::Null, &Packages::new()).is_empty());
    }

    #[test]
    fn a_fix_in_an_older_series_counts_there_only() {
        let fixed = ["1.22.12", "1.24.3"];
        for (version, expected) in [
            ("1.22.11", false),
            ("1.22.12", true),
            ("1.23.1", false),
            ("1.24.2", false),
            ("1.24.3", true),
            ("1.26.0", true),
        ] {
            assert_eq!(is_fixed(version, &fixed), expected, "{version}");
        }
        assert!(!is_fixed("99.0", &[]));
    }

    #[test]
    fn ffmpeg_is_known_only_from_its_package() {
        let found = |rows: &[(&str, &str)]| {
            let found = texts(&report("1.28.2"), &packages(rows));
            found.into_iter().find(|(_, text)| text.contains("what: \"ffmpeg "))
        };
        let (plugin, affected) = (("gst-libav1.0", "1.28.2-1"), ("ffmpeg", "7:8.1.2-1"));
        let (verdict, text) = found(&[plugin, affected]).expect("a finding");
        assert_eq!(verdict, Verdict::Note);
        assert!(
            text.contains("ffmpeg 8.1.2 (package 7:8.1.2-1): 1 known vulnerability in avdec_h264: CVE-2026-125262")
        );
        assert_eq!(found(&[plugin, ("ffmpeg", "7:5.1.9-0+deb12u1")]).expect("a finding").0, Verdict::Passed);
        assert!(found(&[affected]).is_none() && found(&[("gst-libav1.0", "1.22.0-2"), affected]).is_none());
    }

    #[test]
    fn every_row_is_complete() {
        let modules: Vec<&str> = MODULES.iter().map(|(name, _)| *name).collect();
        for row in ADVISORIES {
            let known = |id: &&str| id.starts_with("CVE-20") || id.starts_with("GStreamer-SA-20");
            assert!(!row.ids.is_empty() && row.ids.iter().all(known), "{row:?}");
            assert!(modules.contains(&row.module) && !row.elements.is_empty(), "{row:?}");
            assert!(row.fixed.is_sorted_by_key(|version| numbers(version)), "{row:?}");
            assert!(row.debian.iter().all(|version| version.contains("+deb")), "{row:?}");
        }
    }
}
