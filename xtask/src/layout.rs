//! How the Rust sources are laid out, as tests: modules depend on each other in one direction only, rooms by their
//! rank, files are short, and nothing is defined under a name that was replaced. `tests/browser/layout.test.js`
//! does the same for the page.

mod rules;
mod source;

use std::collections::{BTreeMap, BTreeSet};

use rules::{CYCLES, LONG_FILES, MOST_LINES, OLD_NAMES, RANKS};
use source::{Crate, crates};

/// Modules that depend on each other in a circle, by Tarjan's strongly connected components.
fn cycles(edges: &BTreeMap<String, BTreeSet<String>>) -> Vec<Vec<String>> {
    #[derive(Default)]
    struct Search {
        index: BTreeMap<String, usize>,
        low: BTreeMap<String, usize>,
        stack: Vec<String>,
        found: Vec<Vec<String>>,
    }
    fn visit(search: &mut Search, edges: &BTreeMap<String, BTreeSet<String>>, at: &str) {
        let number = search.index.len();
        search.index.insert(at.to_owned(), number);
        search.low.insert(at.to_owned(), number);
        search.stack.push(at.to_owned());
        for to in edges.get(at).into_iter().flatten() {
            let low = match search.index.get(to) {
                None => {
                    visit(search, edges, to);
                    search.low[to]
                }
                Some(index) if search.stack.contains(to) => *index,
                Some(_) => continue,
            };
            let own = search.low[at].min(low);
            search.low.insert(at.to_owned(), own);
        }
        if search.low[at] == number {
            let start = search.stack.iter().position(|name| name == at).unwrap();
            let mut component = search.stack.split_off(start);
            component.sort();
            if component.len() > 1 {
                search.found.push(component);
            }
        }
    }
    let mut search = Search::default();
    for module in edges.keys() {
        if !search.index.contains_key(module) {
            visit(&mut search, edges, module);
        }
    }
    search.found.sort();
    search.found
}

/// The first part of a module's path: its room. The crate's root is none.
fn room(module: &str) -> &str {
    module.split("::").next().unwrap_or_default()
}

#[test]
fn no_import_leads_back_to_its_module() {
    let (mut unknown, mut needed) = (Vec::new(), BTreeSet::new());
    for Crate { name, edges, .. } in &crates() {
        for cycle in cycles(edges) {
            let is_of =
                |(of, module): &&(&str, &str)| of == name && cycle.iter().any(|one| one == module);
            match CYCLES.iter().find(is_of) {
                Some(known) => drop(needed.insert(*known)),
                None => unknown.push(format!("{name}: {}", cycle.join(" "))),
            }
        }
    }
    assert!(unknown.is_empty(), "import cycles: {unknown:#?}");
    let known: BTreeSet<(&str, &str)> = CYCLES.iter().copied().collect();
    assert_eq!(
        needed, known,
        "right: the list of known cycles, with some that are gone"
    );
}

#[test]
fn rooms_import_only_from_rooms_of_a_lower_rank() {
    let crates = crates();
    for (name, ranks) in RANKS {
        let named = crates.iter().find(|of| of.name == *name);
        let Crate { edges, .. } = named.unwrap_or_else(|| panic!("{name}: no such crate"));
        let rank = |module: &str| {
            let of_room = |rank: &&&str| rank.split(' ').any(|one| one == room(module));
            let place = ranks.iter().rev().position(|rank| of_room(&rank));
            place.unwrap_or_else(|| {
                panic!("{name}: {module} has no rank in xtask/src/layout/rules.rs")
            })
        };
        for (module, to) in edges {
            for to in to {
                let is_inside = room(module) == room(to);
                // The root is main.rs or lib.rs: it may import everything.
                if module.is_empty() || is_inside {
                    continue;
                }
                assert!(
                    !to.is_empty() && rank(module) > rank(to),
                    "{name}: {module} imports {to}, which does not have a lower rank"
                );
            }
        }
    }
}

#[test]
fn files_are_short() {
    let mut found = BTreeSet::new();
    for Crate { files, .. } in &crates() {
        for file in files {
            if file.lines > MOST_LINES {
                found.insert(file.path.clone());
            }
        }
    }
    let known: BTreeSet<String> = LONG_FILES
        .iter()
        .map(|(path, _)| (*path).to_owned())
        .collect();
    assert_eq!(
        found, known,
        "left: files of more than {MOST_LINES} lines; right: those with a reason to be"
    );
}

#[test]
fn nothing_is_defined_under_a_replaced_name() {
    let mut found = Vec::new();
    for Crate { name, files, .. } in &crates() {
        for file in files {
            for defined in &file.definitions {
                let replaced = OLD_NAMES
                    .iter()
                    .find(|(of, old, _)| (of.is_empty() || of == name) && old == defined);
                if let Some((_, old, new)) = replaced {
                    found.push(format!("{}: {old} is called {new}", file.path));
                }
            }
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn cycles_are_found() {
    let edges = |pairs: &[(&str, &str)]| {
        let mut edges: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for (from, to) in pairs {
            edges
                .entry((*from).to_owned())
                .or_default()
                .insert((*to).to_owned());
        }
        edges
    };
    assert!(cycles(&edges(&[("a", "b"), ("b", "c"), ("a", "c")])).is_empty());
    let found = cycles(&edges(&[("a", "b"), ("b", "c"), ("c", "a"), ("d", "a")]));
    assert_eq!(found, [["a", "b", "c"]]);
}
