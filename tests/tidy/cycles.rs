//! No crate's modules import one another in a circle.

use super::{crate_sources, root, shipped};
use std::collections::{BTreeMap, BTreeSet};

/// The modules of one crate by their paths (`a::b`), each with those that it imports.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// The imports of every crate, by its name.
fn graphs() -> BTreeMap<String, Graph> {
    let crates = root().join("crates");
    let mut files: BTreeMap<String, BTreeMap<String, String>> = BTreeMap::new();
    for (path, text) in shipped(crate_sources()) {
        let within = path.strip_prefix(&crates).unwrap().with_extension("");
        let mut parts = within.iter().map(|part| part.to_str().unwrap().to_owned());
        let name = parts.next().unwrap();
        let module: Vec<String> =
            parts.skip(1).filter(|part| part != "mod" && part != "lib" && part != "main").collect();
        files.entry(name).or_default().insert(module.join("::"), text);
    }
    files.into_iter().map(|(name, modules)| (name, graph(&modules))).collect()
}

fn graph(modules: &BTreeMap<String, String>) -> Graph {
    let names: BTreeSet<&str> = modules.keys().map(String::as_str).collect();
    let imported = |text: &str| {
        let paths = paths(text).into_iter();
        paths.filter_map(|path| longest(&names, &path)).map(ToOwned::to_owned).collect::<BTreeSet<_>>()
    };
    modules.iter().map(|(module, text)| (module.clone(), imported(text))).collect()
}

/// The module that a path leads to: the longest beginning of it that is one.
fn longest<'a>(modules: &BTreeSet<&'a str>, path: &str) -> Option<&'a str> {
    let parts: Vec<&str> = path.split("::").collect();
    (1..=parts.len()).rev().find_map(|length| modules.get(parts[..length].join("::").as_str()).copied())
}

/// Every path below `crate::` in a text, with the braces of `use` opened; comments left out.
fn paths(text: &str) -> Vec<String> {
    let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    let mut found = Vec::new();
    for rest in code.split("crate::").skip(1) {
        open_braces(rest, "", &mut found);
    }
    found
}

/// Adds the paths of `rest`, which begins behind `prefix`; returns what follows them.
fn open_braces<'a>(rest: &'a str, prefix: &str, found: &mut Vec<String>) -> &'a str {
    let end = rest.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(rest.len());
    let (path, after) = rest.split_at(end);
    let Some(mut inner) = after.strip_prefix('{').filter(|_| path.ends_with("::") || path.is_empty()) else {
        found.push(format!("{prefix}{path}"));
        return after;
    };
    let prefix = format!("{prefix}{path}");
    loop {
        inner = open_braces(inner.trim_start(), &prefix, found).trim_start();
        match inner.strip_prefix(',') {
            Some(more) if !more.trim_start().starts_with('}') => inner = more,
            Some(more) => return more.trim_start().strip_prefix('}').unwrap_or(more),
            None => return inner.strip_prefix('}').unwrap_or(inner),
        }
    }
}

/// Whether one module lies within the other: a module and its parts are one room.
fn related(one: &str, other: &str) -> bool {
    let within =
        |inner: &str, outer: &str| outer.is_empty() || inner.strip_prefix(outer).is_some_and(|r| r.starts_with("::"));
    one == other || within(one, other) || within(other, one)
}

/// A circle of imports, if there is one.
fn circle(graph: &Graph) -> Option<Vec<String>> {
    fn visit(graph: &Graph, at: &str, trail: &mut Vec<String>, done: &mut BTreeSet<String>) -> Option<Vec<String>> {
        if let Some(first) = trail.iter().position(|module| module == at) {
            return Some(trail[first..].to_vec());
        }
        if !done.insert(at.to_owned()) {
            return None;
        }
        trail.push(at.to_owned());
        let next = graph.get(at).into_iter().flatten().filter(|next| !related(at, next));
        let found = next.into_iter().find_map(|next| visit(graph, next, trail, done));
        trail.pop();
        found
    }
    let mut done = BTreeSet::new();
    graph.keys().find_map(|module| visit(graph, module, &mut Vec::new(), &mut done))
}

#[test]
fn no_modules_import_one_another_in_a_circle() {
    let graphs = graphs();
    let imports: usize = graphs.values().flat_map(BTreeMap::values).map(BTreeSet::len).sum();
    assert!(imports > 200, "only {imports} imports were found");
    let circles: Vec<String> =
        graphs.iter().filter_map(|(name, graph)| Some(format!("{name}: {}", circle(graph)?.join(" -> ")))).collect();
    assert!(circles.is_empty(), "{circles:#?}");
}

#[test]
fn a_circle_is_found() {
    let modules = [
        ("a", "use crate::{b::{self, Thing}, d};"),
        ("b", "crate::c::Other::new()"),
        ("c", "use crate::a;"),
        ("d", ""),
    ];
    let graph = graph(&modules.map(|(module, text)| (module.to_owned(), text.to_owned())).into());
    assert_eq!(graph["a"], ["b", "d"].map(ToOwned::to_owned).into());
    assert_eq!(circle(&graph), Some(["a", "b", "c"].map(ToOwned::to_owned).into()));
}
