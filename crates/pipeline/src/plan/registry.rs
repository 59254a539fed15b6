//! The elements that this program uses, as one list, and GStreamer's registry reduced to that list.
//!
//! An installation has hundreds of elements: demuxers and parsers of formats that are never accepted, sources that open
//! files and connections. An element may look for others in the registry, by what they accept or by an address, and
//! typefinders parse any bytes that they are given. A vulnerability in any of these would be reachable by a source. So
//! what no table names is removed before the first byte of a source is read, and cannot be created any more.

use super::catalog::{AAC_ENCODER, DECODERS, ENCODERS, GPU_DECODERS, GPU_SCALER, VERIFICATION_DECODER};
use crate::source::container::Container;
use gst::prelude::*;
use gstreamer as gst;
use parking_lot::Mutex;
use std::{
    collections::BTreeSet,
    sync::{LazyLock, Once},
};

/// Elements that code names. Those of the catalog and of containers are named by their rows.
const NAMED: [&str; 19] = [
    // GStreamer itself creates these two by name.
    "bin",
    "pipeline",
    "audioconvert",
    "audioresample",
    "audiotestsrc",
    "capsfilter",
    "cudadownload",
    "cudaupload",
    "deinterlace",
    "fakesink",
    "filesink",
    "mp4mux",
    "queue",
    "tee",
    "videoconvert",
    "videoconvertscale",
    "videocrop",
    "videoflip",
    "videotestsrc",
];

static ELEMENTS: LazyLock<BTreeSet<&str>> = LazyLock::new(|| {
    let decoders = DECODERS.iter().chain(GPU_DECODERS);
    let decoders = decoders.flat_map(|row| [Some(row.element), row.parser, row.fallback_parser]).flatten();
    let encoders = ENCODERS.iter().flat_map(|row| [Some(row.name), row.parser]).flatten();
    let demuxers = Container::ALL.into_iter().map(Container::demuxer);
    let others = NAMED.into_iter().chain([AAC_ENCODER, GPU_SCALER, VERIFICATION_DECODER]);
    decoders.chain(encoders).chain(demuxers).chain(others).collect()
});

/// The plugin with the elements of GPUs.
const GPU_PLUGIN: &str = "nvcodec";

/// Elements beside the list, for tests.
static MORE: Mutex<Vec<&str>> = Mutex::new(Vec::new());

/// What was removed. A class points to its factory without a reference, so a factory must outlive its removal.
static REMOVED: Mutex<Vec<gst::PluginFeature>> = Mutex::new(Vec::new());

/// The elements that may be created, whether or not they are installed.
pub fn elements() -> impl Iterator<Item = &'static str> {
    ELEMENTS.iter().copied()
}

/// Starts GStreamer with everything that is installed.
pub fn start_whole() -> Result<(), gst::glib::Error> {
    gst::init()
}

/// Starts GStreamer, and reduces its registry to [`elements`]. Only the registry of this process changes, not the file
/// that GStreamer keeps.
pub fn start() -> Result<(), gst::glib::Error> {
    start_with(&[])
}

/// The same for tests that change plans, and need more elements for that. The first start of a process counts.
pub fn start_with(more: &[&'static str]) -> Result<(), gst::glib::Error> {
    static RESTRICTED: Once = Once::new();
    gst::init()?;
    RESTRICTED.call_once(|| {
        MORE.lock().extend(more);
        load();
        restrict();
    });
    Ok(())
}

/// Loads the libraries of the elements, before an order arrives. A plugin registers all its features when it is loaded:
/// that updates those that the registry has, and would create those anew that were removed, which costs 80 ms.
fn load() {
    for factory in elements().filter_map(gst::ElementFactory::find) {
        // Loading this one starts the GPU, which may be disabled.
        if factory.plugin_name().is_none_or(|plugin| plugin != GPU_PLUGIN) {
            // An element that cannot be loaded reports that when it is created.
            let _ = factory.load();
        }
    }
}

fn restrict() {
    let registry = gst::Registry::get();
    // For plugins that are loaded later.
    registry.connect_feature_added(|registry, feature| {
        if !is_listed(feature) {
            remove(registry, feature);
        }
    });
    let mut plugins = BTreeSet::new();
    // In the order of the registry's own list, so that each is found at its beginning.
    for feature in features(&registry).into_iter().collect::<Vec<_>>().into_iter().rev() {
        if is_listed(&feature) {
            plugins.extend(feature.plugin_name());
        } else {
            remove(&registry, &feature);
        }
    }
    for plugin in registry.plugins().iter().filter(|plugin| !plugins.contains(&plugin.plugin_name())) {
        registry.remove_plugin(plugin);
    }
}

/// All features. `Registry::features` would return those of exactly one type.
fn features(registry: &gst::Registry) -> gst::glib::List<gst::PluginFeature> {
    registry.features_filtered(|_| true, false)
}

/// Typefinders, device providers and tracers are never listed: containers are told apart by `domain::file_kind`.
fn is_listed(feature: &gst::PluginFeature) -> bool {
    let name = feature.name();
    let is_named = || ELEMENTS.contains(name.as_str()) || MORE.lock().contains(&name.as_str());
    feature.is::<gst::ElementFactory>() && is_named()
}

fn remove(registry: &gst::Registry, feature: &gst::PluginFeature) {
    REMOVED.lock().push(feature.clone());
    registry.remove_feature(feature);
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{
        fs,
        path::{Path, PathBuf},
    };

    /// Functions whose first argument is the name of an element.
    const NAMING: [&str; 6] = ["make(", "exists(", "element(", "with(", "named(", "ElementFactory::find("];

    /// What creates elements that no code names: by a description, by an address, by what they accept, or inside a
    /// function of GStreamer.
    const UNNAMED: [&str; 6] =
        ["parse::launch", "parse::bin_from", "make_from_uri", "factories_with_type", "convert_sample", "convert_frame"];

    /// What creates an element without its name, and that name.
    const IMPLIED: [(&str, &str); 2] = [("gst::Pipeline::", "pipeline"), ("gst::Bin::", "bin")];

    /// Where names of elements may be variables: each of these is given a name of the list, or looks through a table.
    const BY_VARIABLE: [&str; 5] =
        ["gpu/check.rs", "graph/bus.rs", "plan/catalog.rs", "plan/installed.rs", "plan/registry.rs"];

    fn sources(folder: &Path) -> Vec<(PathBuf, String)> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let texts = entries.flat_map(|path| match path.extension() {
            _ if path.is_dir() => sources(&path),
            Some(extension) if extension == "rs" && !path.ends_with("tests.rs") => {
                let text = fs::read_to_string(&path).unwrap();
                let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap().to_owned();
                vec![(path, shipped)]
            }
            _ => Vec::new(),
        });
        texts.collect()
    }

    fn shipped() -> Vec<(PathBuf, String)> {
        let sources = sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
        assert!(sources.len() > 80, "only {} files were found", sources.len());
        sources
    }

    /// The names that a text gives to a function, where they are literals.
    fn literals<'a>(text: &'a str, function: &'a str) -> impl Iterator<Item = &'a str> {
        text.match_indices(function).filter_map(move |(at, _)| {
            let part_of_another_name = text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_');
            let argument = text[at + function.len()..].trim_start().strip_prefix('"')?;
            argument.split('"').next().filter(|_| !part_of_another_name)
        })
    }

    #[test]
    fn an_element_is_listed_if_and_only_if_the_code_uses_it() {
        let sources = shipped();
        let named = sources.iter().flat_map(|(_, text)| NAMING.iter().flat_map(|function| literals(text, function)));
        let implied = IMPLIED.iter().filter(|(call, _)| sources.iter().any(|(_, text)| text.contains(call)));
        let used: BTreeSet<&str> = named.chain(implied.map(|(_, name)| *name)).collect();
        let unlisted: Vec<_> = used.iter().filter(|name| !ELEMENTS.contains(*name)).collect();
        assert!(unlisted.is_empty(), "{unlisted:?} are used: add them to NAMED or to a table");
        let unused: Vec<_> = NAMED.iter().filter(|name| !used.contains(*name)).collect();
        assert!(unused.is_empty(), "{unused:?} are listed, and nothing uses them");
    }

    #[test]
    fn no_code_creates_an_element_past_the_list() {
        for (path, text) in shipped() {
            let found: Vec<_> = UNNAMED.iter().filter(|call| text.contains(**call)).collect();
            assert!(found.is_empty(), "{}: {found:?}", path.display());
            let allowed = BY_VARIABLE.iter().any(|file| path.ends_with(file));
            assert!(allowed || !text.contains("ElementFactory::"), "{}: use bus::make", path.display());
        }
    }

    #[test]
    fn the_registry_has_only_what_is_listed_even_after_another_plugin_is_loaded() {
        start().unwrap();
        let registry = gst::Registry::get();
        let strangers = || -> Vec<String> {
            features(&registry)
                .iter()
                .filter(|feature| !is_listed(feature))
                .map(|feature| feature.name().to_string())
                .collect()
        };
        assert_eq!(strangers(), [""; 0]);
        assert!(features(&registry).len() > 30, "elements that are listed remain");
        let parser = gst::ElementFactory::find("h264parse").expect("videoparsersbad must be installed for this test");
        assert!(gst::ElementFactory::find("vc1parse").is_none(), "it is in the same plugin as h264parse");
        for plugin in ["typefindfunctions", "playback", "soup"] {
            assert!(gst::Plugin::load_by_name(plugin).is_err(), "{plugin}");
        }
        let loaded = gst::Plugin::load_by_name("videoparsersbad").unwrap();
        // A plugin registers its features when it is loaded.
        let another = parser.plugin().unwrap().filename().unwrap().with_file_name("libgstplayback.so");
        let another = gst::Plugin::load_file(&another).unwrap();
        assert!(loaded.is_loaded() && another.is_loaded());
        assert_eq!(strangers(), [""; 0]);
    }

    /// Elements that a machine for tests may lack, with their plugins.
    fn plugin_elsewhere(element: &str) -> Option<&'static str> {
        match element {
            "dav1ddec" => Some("dav1d"),
            name if name.starts_with("nv") || name.starts_with("cuda") => Some("nvcodec"),
            _ => None,
        }
    }

    #[test]
    fn the_image_has_exactly_the_plugins_of_the_list() {
        start().unwrap();
        let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docker/plugins.txt");
        let list = fs::read_to_string(list).unwrap();
        let in_image: BTreeSet<String> =
            list.lines().filter(|line| !line.is_empty() && !line.starts_with('#')).map(ToOwned::to_owned).collect();
        let mut needed = BTreeSet::new();
        for element in elements() {
            let plugin = gst::ElementFactory::find(element).and_then(|factory| factory.plugin());
            let file = plugin.as_ref().and_then(|plugin| plugin.filename());
            match (file, plugin) {
                (Some(file), _) => {
                    let name = file.file_stem().unwrap().to_string_lossy().into_owned();
                    needed.insert(name.trim_start_matches("libgst").to_owned());
                }
                // Part of GStreamer's library.
                (None, Some(_)) => {}
                (None, None) => {
                    let elsewhere = plugin_elsewhere(element);
                    needed.insert(elsewhere.unwrap_or_else(|| panic!("install {element} for this test")).to_owned());
                }
            }
        }
        assert_eq!(in_image, needed);
    }
}
