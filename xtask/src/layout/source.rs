//! What a crate's sources say: which module imports from which, what is defined where.
//!
//! A re-export is no dependency of the module that has it: whoever imports the item depends on the module that defines
//! it. Test modules do not count.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// A source file.
pub(super) struct File {
    /// From the repository's root.
    pub(super) path: String,
    pub(super) lines: usize,
    /// Names of its structs, enums, traits, types and functions.
    pub(super) definitions: Vec<String>,
}

/// A crate, and the imports between its modules. The root's name is empty.
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) files: Vec<File>,
    pub(super) edges: BTreeMap<String, BTreeSet<String>>,
}

/// A name that a module makes visible under its own path.
struct Export {
    /// `*` for all of a module.
    name: String,
    path: Vec<String>,
}

/// A module as it is written.
#[derive(Default)]
struct Module {
    /// Paths that it uses, from the crate's root.
    uses: Vec<Vec<String>>,
    exports: Vec<Export>,
}

/// All crates of the workspace.
pub(super) fn crates() -> Vec<Crate> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let entries = fs::read_dir(root.join("crates")).unwrap();
    let mut folders: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    folders.push(root.join("xtask"));
    folders.sort();
    let found: Vec<Crate> = folders.iter().map(|folder| one(root, folder)).collect();
    assert!(found.len() > 5, "the crates were not found");
    found
}

fn one(root: &Path, folder: &Path) -> Crate {
    let source = folder.join("src");
    let mut paths = Vec::new();
    below(&source, &mut paths);
    let mut files = Vec::new();
    let mut texts = BTreeMap::new();
    for path in paths {
        let text = fs::read_to_string(&path).unwrap();
        let relative = path.strip_prefix(&source).unwrap();
        let code = code(&text);
        files.push(File {
            path: path.strip_prefix(root).unwrap().display().to_string(),
            lines: text.lines().count(),
            definitions: definitions(&code),
        });
        let is_test = relative.ends_with("tests.rs") || relative.starts_with("layout");
        if !is_test {
            texts.insert(module_name(relative), code);
        }
    }
    let names: BTreeSet<String> = texts.keys().cloned().collect();
    let modules: BTreeMap<String, Module> = texts
        .iter()
        .map(|(name, code)| (name.clone(), read(name, code, &names)))
        .collect();
    let edges = modules.iter().map(|(name, module)| {
        let targets = module.uses.iter().map(|path| defining(path, &modules, 0));
        let others = targets.filter(|to| to != name).collect();
        (name.clone(), others)
    });
    Crate {
        name: folder.file_name().unwrap().to_str().unwrap().to_owned(),
        edges: edges.collect(),
        files,
    }
}

fn below(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            below(&path, found);
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            found.push(path);
        }
    }
    found.sort();
}

/// `a/b.rs` and `a/b/mod.rs` are `a::b`; lib.rs and main.rs are the root.
fn module_name(relative: &Path) -> String {
    let path = relative.with_extension("");
    let parts = path.iter().map(|part| part.to_str().unwrap());
    let parts: Vec<&str> = parts
        .filter(|part| !["mod", "lib", "main"].contains(part))
        .collect();
    parts.join("::")
}

/// The text without comments, strings and the test module at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
    let mut code = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['/', '"', '\'', 'r']) {
        let (before, from) = rest.split_at(at);
        code.push_str(before);
        let is_word = before.ends_with(|c: char| c.is_alphanumeric() || c == '_');
        let length = if from.starts_with("//") {
            from.find('\n').unwrap_or(from.len())
        } else if from.starts_with("/*") {
            from.find("*/").map_or(from.len(), |end| end + 2)
        } else if !is_word && (from.starts_with("r\"") || from.starts_with("r#")) {
            let hashes = from[1..].bytes().take_while(|&b| b == b'#').count();
            let end = format!("\"{}", "#".repeat(hashes));
            match from[1 + hashes..].strip_prefix('"') {
                Some(inside) => inside
                    .find(&end)
                    .map_or(from.len(), |at| 2 + hashes + at + end.len()),
                None => 1, // a raw identifier
            }
        } else if from.starts_with('"') {
            let mut escaped = false;
            let end = from.char_indices().skip(1).find(|&(_, c)| {
                let is_end = c == '"' && !escaped;
                escaped = c == '\\' && !escaped;
                is_end
            });
            end.map_or(from.len(), |(at, _)| at + 1)
        } else if from.starts_with("'\"'") || from.starts_with("'/'") {
            3
        } else {
            code.push_str(&from[..1]);
            rest = &from[1..];
            continue;
        };
        code.push(' ');
        rest = &from[length..];
    }
    code + rest
}

/// Names behind `struct`, `enum`, `trait`, `type` and `fn`.
fn definitions(code: &str) -> Vec<String> {
    let words: Vec<&str> = code
        .split(|c: char| !(c.is_alphanumeric() || c == '_'))
        .filter(|word| !word.is_empty())
        .collect();
    let is_definition =
        |pair: &&[&str]| ["struct", "enum", "trait", "type", "fn"].contains(&pair[0]);
    let pairs = words.windows(2).filter(is_definition);
    pairs.map(|pair| pair[1].to_owned()).collect()
}

/// What a module imports and exports.
fn read(name: &str, code: &str, modules: &BTreeSet<String>) -> Module {
    let own: Vec<String> = parts(name);
    let mut module = Module::default();
    let mut without = String::new();
    let mut rest = code;
    while let Some(at) = find_use(rest) {
        let end = rest[at..].find(';').map_or(rest.len(), |end| at + end);
        let line = rest[..at].rsplit('\n').next().unwrap_or_default();
        let is_export = line.trim_start().starts_with("pub");
        for (path, renamed) in tree(&rest[at + 4..end]) {
            let Some(path) = absolute(&own, &path, modules) else {
                continue;
            };
            if is_export {
                let last = path.last().cloned().unwrap_or_default();
                let name = renamed.unwrap_or(last);
                module.exports.push(Export { name, path });
            } else {
                module.uses.push(path);
            }
        }
        without.push_str(&rest[..at]);
        rest = &rest[end..];
    }
    without.push_str(rest);
    for word in without.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
        let path: Vec<String> = word.split("::").map(str::to_owned).collect();
        if path.len() > 1 {
            module.uses.extend(absolute(&own, &path, modules));
        }
    }
    module
}

/// Where the next `use` begins.
fn find_use(code: &str) -> Option<usize> {
    let starts = code.match_indices("use ").map(|(at, _)| at);
    starts.into_iter().find(|&at| {
        let line = code[..at]
            .rsplit('\n')
            .next()
            .unwrap_or_default()
            .trim_start();
        line.is_empty() || (line.starts_with("pub") && line.ends_with([' ', ')']))
    })
}

/// The paths of a `use` with braces, and what they are renamed to.
fn tree(text: &str) -> Vec<(Vec<String>, Option<String>)> {
    let text = text.trim();
    let Some((before, inside)) = text.split_once('{') else {
        let (path, renamed) = match text.split_once(" as ") {
            Some((path, renamed)) => (path, Some(renamed.trim().to_owned())),
            None => (text, None),
        };
        let path = path.trim().split("::").map(|part| part.trim().to_owned());
        return vec![(path.collect(), renamed)];
    };
    let inside = inside.rsplit_once('}').map_or(inside, |(inside, _)| inside);
    let prefix: Vec<String> = parts(before.trim().trim_end_matches("::"));
    let (mut depth, mut begin, mut found) = (0, 0, Vec::new());
    for (at, c) in inside.char_indices().chain([(inside.len(), ',')]) {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                let one = inside[begin..at].trim();
                begin = (at + 1).min(inside.len());
                if !one.is_empty() {
                    for (path, renamed) in tree(one) {
                        let path = path.into_iter().filter(|part| part != "self");
                        found.push((prefix.iter().cloned().chain(path).collect(), renamed));
                    }
                }
            }
            _ => {}
        }
    }
    found
}

fn parts(path: &str) -> Vec<String> {
    let parts = path.split("::").filter(|part| !part.is_empty());
    parts.map(str::to_owned).collect()
}

/// A path from the crate's root; none where it leads out of the crate.
fn absolute(own: &[String], path: &[String], modules: &BTreeSet<String>) -> Option<Vec<String>> {
    let first = path.first()?.as_str();
    let mut from = own.to_vec();
    match first {
        "crate" => return Some(path[1..].to_vec()),
        "self" => return Some([&from, &path[1..]].concat()),
        "super" => {
            let ups = path.iter().take_while(|part| *part == "super").count();
            from.truncate(own.len().checked_sub(ups)?);
            Some([&from, &path[ups..]].concat())
        }
        child => {
            from.push(child.to_owned());
            modules
                .contains(&from.join("::"))
                .then(|| [own, path].concat())
        }
    }
}

/// The module that defines what a path names.
fn defining(path: &[String], modules: &BTreeMap<String, Module>, depth: usize) -> String {
    let mut at = 0;
    while at < path.len() && modules.contains_key(&path[..=at].join("::")) {
        at += 1;
    }
    let module = path[..at].join("::");
    let (Some(item), true) = (path.get(at), depth < 9) else {
        return module;
    };
    let Some(exports) = modules.get(&module).map(|module| &module.exports) else {
        return module;
    };
    if let Some(export) = exports.iter().find(|export| export.name == *item) {
        if export.path != path {
            return defining(&export.path, modules, depth + 1);
        }
    }
    module
}
