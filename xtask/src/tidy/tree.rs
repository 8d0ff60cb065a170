//! The repository as the rules see it: texts, Rust sources and packages, read once.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use super::Source;

/// Folders that hold nothing anybody wrote.
const SKIPPED_FOLDERS: [&str; 4] = ["target", "kvorum-data", "node_modules", "__pycache__"];

/// Folders beginning with a dot that belong to the project all the same.
const DOT_FOLDERS: [&str; 3] = [".ci", ".cargo", ".github"];

/// A text file.
#[derive(Clone, Debug)]
pub struct File {
    /// Its path relative to the root, with `/` between the parts.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Its parts, if it is Rust.
    pub source: Option<Source>,
}

impl File {
    fn new(path: &str, text: String) -> File {
        let source = path.ends_with(".rs").then(|| Source::parse(path, &text));
        File { path: path.to_owned(), text, source }
    }

    /// The number of the first line (from 1) that `wanted` holds for; 1 if there is none.
    pub fn line_where(&self, wanted: impl Fn(&str) -> bool) -> usize {
        self.text.lines().position(wanted).map_or(1, |at| at + 1)
    }
}

/// When a dependency is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DependencyKind {
    /// By the crate itself.
    Normal,
    /// By its tests.
    Dev,
    /// By its build script.
    Build,
}

/// One line of a manifest's dependency tables.
#[derive(Clone, Debug)]
pub struct Dependency {
    /// The name of the package depended on.
    pub name: String,
    /// When it is needed.
    pub kind: DependencyKind,
    /// Whether version and features come from the root manifest.
    pub inherited: bool,
    /// The features that are switched on here.
    pub features: Vec<String>,
    /// The line in the manifest, from 1.
    pub line: usize,
}

/// One package of the workspace.
#[derive(Clone, Debug)]
pub struct Package {
    /// Its name.
    pub name: String,
    /// The path of its manifest.
    pub manifest: String,
    /// Its folder, without a slash at the end.
    pub folder: String,
    /// What it depends on.
    pub dependencies: Vec<Dependency>,
    /// The features that are on by default.
    pub default_features: Vec<String>,
}

/// The whole repository.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    files: BTreeMap<String, File>,
    packages: Vec<Package>,
}

impl Tree {
    /// Reads the repository at `root`.
    ///
    /// # Errors
    /// If a folder cannot be read or a manifest is not TOML. Files that are not UTF-8 are left out.
    pub fn read(root: &Path) -> Result<Tree> {
        let mut texts = Vec::new();
        read_folder(root, "", &mut texts)?;
        Tree::from_texts(texts)
    }

    /// A tree of the given paths and texts, for tests of the rules.
    ///
    /// # Errors
    /// If a manifest among them is not TOML.
    pub fn of(files: &[(&str, &str)]) -> Result<Tree> {
        let texts = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned()));
        Tree::from_texts(texts.collect())
    }

    fn from_texts(texts: Vec<(String, String)>) -> Result<Tree> {
        let mut tree = Tree::default();
        for (path, text) in texts {
            let file = File::new(&path, text);
            if path.ends_with("Cargo.toml") {
                let package = package_of(&file).with_context(|| format!("reading {path}"))?;
                tree.packages.extend(package);
            }
            tree.files.insert(path, file);
        }
        Ok(tree)
    }

    /// All text files, by path.
    pub fn files(&self) -> impl Iterator<Item = &File> {
        self.files.values()
    }

    /// The file at a path.
    #[must_use]
    pub fn file(&self, path: &str) -> Option<&File> {
        self.files.get(path)
    }

    /// Whether there is a file or a folder at a path.
    #[must_use]
    pub fn exists(&self, path: &str) -> bool {
        let folder = format!("{path}/");
        self.files.contains_key(path) || self.files.keys().any(|file| file.starts_with(&folder))
    }

    /// All Rust files below a folder (`""` for all), with their parts.
    pub fn sources<'a>(&'a self, folder: &'a str) -> impl Iterator<Item = (&'a File, &'a Source)> {
        let below = move |file: &&File| {
            let rest = file.path.strip_prefix(folder);
            rest.is_some_and(|rest| folder.is_empty() || rest.starts_with('/'))
        };
        self.files().filter(below).filter_map(|file| Some((file, file.source.as_ref()?)))
    }

    /// All packages of the workspace, by the path of their manifest.
    #[must_use]
    pub fn packages(&self) -> &[Package] {
        &self.packages
    }
}

fn read_folder(root: &Path, folder: &str, texts: &mut Vec<(String, String)>) -> Result<()> {
    let path = root.join(folder);
    let entries = fs::read_dir(&path).with_context(|| format!("listing {}", path.display()))?;
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        let child = if folder.is_empty() { name.clone() } else { format!("{folder}/{name}") };
        let kind = entry.file_type()?;
        let hidden = name.starts_with('.') && !DOT_FOLDERS.contains(&name.as_str());
        if kind.is_dir() && !hidden && !SKIPPED_FOLDERS.contains(&name.as_str()) {
            read_folder(root, &child, texts)?;
        } else if kind.is_file()
            // In a worktree of its own this is a file that names a folder of the machine.
            && name != ".git"
            && let Ok(text) = fs::read_to_string(entry.path())
        {
            texts.push((child, text));
        }
    }
    Ok(())
}

fn package_of(file: &File) -> Result<Option<Package>> {
    let table: toml::Table = file.text.parse()?;
    let Some(name) = table.get("package").and_then(|package| package.get("name")?.as_str()) else {
        return Ok(None);
    };
    let kinds = [
        ("dependencies", DependencyKind::Normal),
        ("dev-dependencies", DependencyKind::Dev),
        ("build-dependencies", DependencyKind::Build),
    ];
    let mut dependencies = Vec::new();
    for (heading, kind) in kinds {
        let mut tables: Vec<&toml::Table> = Vec::new();
        tables.extend(table.get(heading).and_then(toml::Value::as_table));
        let targets = table.get("target").and_then(toml::Value::as_table);
        for target in targets.into_iter().flat_map(toml::Table::values) {
            tables.extend(target.get(heading).and_then(toml::Value::as_table));
        }
        for (key, value) in tables.into_iter().flatten() {
            let package = value.get("package").and_then(toml::Value::as_str);
            let begins = |line: &str| {
                let rest = line.strip_prefix(key.as_str());
                rest.is_some_and(|rest| rest.starts_with(['.', ' ', '=']))
            };
            dependencies.push(Dependency {
                name: package.unwrap_or(key).to_owned(),
                kind,
                inherited: value.get("workspace").and_then(toml::Value::as_bool) == Some(true),
                features: words(value.get("features")),
                line: file.line_where(begins),
            });
        }
    }
    let folder = file.path.strip_suffix("/Cargo.toml").unwrap_or_default().to_owned();
    Ok(Some(Package {
        name: name.to_owned(),
        manifest: file.path.clone(),
        folder,
        dependencies,
        default_features: words(table.get("features").and_then(|features| features.get("default"))),
    }))
}

/// The words of an array; none if it is something else.
fn words(value: Option<&toml::Value>) -> Vec<String> {
    let array = value.and_then(toml::Value::as_array);
    let texts = array.into_iter().flatten().filter_map(toml::Value::as_str);
    texts.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_tells_each_dependency_with_its_kind_and_line() {
        let manifest = "[package]\nname = \"a\"\n[dependencies]\nb.workspace = true\n\
                        [target.'cfg(unix)'.dependencies]\nc = { package = \"d\", version = \"1\" }\n\
                        [dev-dependencies]\ne = \"1\"\n";
        let tree = Tree::of(&[("crates/a/Cargo.toml", manifest)]).unwrap();
        let package = &tree.packages()[0];
        assert_eq!(package.folder, "crates/a");
        let seen: Vec<_> = package
            .dependencies
            .iter()
            .map(|dependency| (dependency.name.as_str(), dependency.kind, dependency.inherited))
            .collect();
        let expected = [
            ("b", DependencyKind::Normal, true),
            ("d", DependencyKind::Normal, false),
            ("e", DependencyKind::Dev, false),
        ];
        assert_eq!(seen, expected);
        assert_eq!(package.dependencies[1].line, 6);
    }

    #[test]
    fn the_file_that_links_a_worktree_to_its_repository_is_left_out() {
        let root = tempfile::tempdir().unwrap();
        for name in [".git", "README.md"] {
            fs::write(root.path().join(name), "gitdir: elsewhere\n").unwrap();
        }
        let tree = Tree::read(root.path()).unwrap();
        let paths: Vec<&str> = tree.files().map(|file| file.path.as_str()).collect();
        assert_eq!(paths, ["README.md"]);
    }

    #[test]
    fn a_folder_exists_when_a_file_lies_in_it() {
        let tree = Tree::of(&[("docs/a.md", "")]).unwrap();
        assert!(tree.exists("docs"));
        assert!(tree.exists("docs/a.md"));
        assert!(!tree.exists("doc"));
    }

    #[test]
    fn sources_of_a_folder_do_not_include_a_folder_whose_name_begins_alike() {
        let tree = Tree::of(&[("crates/a/x.rs", ""), ("crates/ab/x.rs", "")]).unwrap();
        assert_eq!(tree.sources("crates/a").count(), 1);
        assert_eq!(tree.sources("").count(), 2);
    }
}
