//! One source file as tokens: which paths it names, from which module, and the words that the rules
//! ask for.
//!
//! Tokens and not a syntax tree: what stands in the arguments of a macro is seen like everything
//! else, while comments and strings are gone (a doc comment is a string by then).

use proc_macro2::{Delimiter, Ident, Spacing, TokenStream, TokenTree};
use std::collections::{BTreeMap, BTreeSet};

pub type Segments = Vec<String>;

/// A path with a `::` in it, or one leaf of a `use` tree.
pub struct Reference {
    /// The module that it stands in.
    pub module: Segments,
    pub path: Segments,
    pub line: usize,
    /// For a `use`: the name it gets here (`*` for all there are), and whether it is `pub`.
    pub import: Option<(String, bool)>,
}

/// What a rule may object to, wherever it stands.
#[derive(Clone, Debug, PartialEq)]
pub enum Word {
    UnsafeSignature,
    /// `unsafe trait`, `unsafe impl`.
    UnsafePromise,
    UnsafeCode,
    Asm,
    MacroRules,
    TargetArch,
    PathAttribute(String),
    Include,
    CrateByAnotherName,
    InlineModule,
    /// A function of so many lines.
    Function(usize),
}

/// The names that a module has.
#[derive(Default)]
struct Scope {
    aliases: BTreeMap<String, Vec<Segments>>,
    children: BTreeSet<String>,
}

#[derive(Default)]
pub struct Source {
    pub references: Vec<Reference>,
    pub words: Vec<(usize, Word)>,
    scopes: BTreeMap<Segments, Scope>,
}

/// A path with more `super` than there are modules.
#[derive(Debug)]
pub struct Outside;

impl Source {
    /// Reads the file whose module is `module`.
    pub fn read(text: &str, module: &[String]) -> Result<Self, String> {
        let tokens: TokenStream =
            text.parse().map_err(|error| format!("cannot be read as Rust: {error}"))?;
        let mut source = Self::default();
        source.modules_and_paths(&trees(tokens.clone()), &mut module.to_vec());
        source.find_words(&trees(tokens));
        Ok(source)
    }

    /// Where in the crate a path leads that stands in `module`. Nowhere if it starts with another
    /// crate or with a name of the module's own; to several places if a name has several meanings.
    pub fn resolve(&self, module: &[String], path: &[String]) -> Result<Vec<Segments>, Outside> {
        self.resolve_at(module, path, 0)
    }

    fn resolve_at(
        &self,
        module: &[String],
        path: &[String],
        depth: usize,
    ) -> Result<Vec<Segments>, Outside> {
        let Some((head, rest)) = path.split_first() else { return Ok(Vec::new()) };
        let starts = match head.as_str() {
            "crate" | "pgtable" => vec![Segments::new()],
            "self" => vec![module.to_vec()],
            "super" => vec![module.split_last().ok_or(Outside)?.1.to_vec()],
            _ => self.names(module, head, depth)?,
        };
        starts.into_iter().map(|start| append(start, rest)).collect()
    }

    /// What a name stands for that a module has from a `mod` or a `use`.
    fn names(&self, module: &[String], name: &str, depth: usize) -> Result<Vec<Segments>, Outside> {
        let mut found = Vec::new();
        let Some(scope) = self.scopes.get(module) else { return Ok(found) };
        if scope.children.contains(name) {
            found.push([module, &[name.to_owned()]].concat());
        }
        // `use bitflags::bitflags` gives a name that starts with itself: the crate's.
        for alias in scope.aliases.get(name).into_iter().flatten().filter(|_| depth < 8) {
            found.extend(self.resolve_at(module, alias, depth + 1)?);
        }
        Ok(found)
    }

    fn scope(&mut self, module: &[String]) -> &mut Scope {
        self.scopes.entry(module.to_vec()).or_default()
    }

    fn modules_and_paths(&mut self, trees: &[TokenTree], module: &mut Segments) {
        let mut at = 0;
        while let Some(tree) = trees.get(at) {
            at += match tree {
                TokenTree::Group(group) => {
                    self.modules_and_paths(&self::trees(group.stream()), module);
                    1
                }
                TokenTree::Ident(word) => match name(word).as_str() {
                    // `use<'a>` names what an opaque type captures.
                    "use" if !is_punct(trees.get(at + 1), '<') => self.import(trees, at, module),
                    "mod" if ident(trees.get(at + 1)).is_some() => self.module(trees, at, module),
                    _ => self.path(trees, at, module),
                },
                _ => 1,
            };
        }
    }

    /// `mod name;` or `mod name { .. }`; answers how many tokens are done with.
    fn module(&mut self, trees: &[TokenTree], at: usize, module: &mut Segments) -> usize {
        let Some(child) = ident(trees.get(at + 1)) else { return 1 };
        self.scope(module).children.insert(name(child));
        match trees.get(at + 2) {
            Some(TokenTree::Group(body)) => {
                self.words.push((line(child), Word::InlineModule));
                module.push(name(child));
                self.modules_and_paths(&self::trees(body.stream()), module);
                module.pop();
                3
            }
            _ => 2,
        }
    }

    fn import(&mut self, trees: &[TokenTree], at: usize, module: &[String]) -> usize {
        let tree: Vec<_> =
            trees.iter().skip(at + 1).take_while(|&tree| !punct(tree, ';')).collect();
        let public = at > 0 && ident(trees.get(at - 1)).is_some_and(|word| word == "pub");
        let done = tree.len() + 1;
        let tree: Vec<_> = tree.into_iter().cloned().collect();
        self.use_tree(&tree, &[], module, public);
        done
    }

    fn use_tree(&mut self, tree: &[TokenTree], above: &[String], module: &[String], public: bool) {
        for element in tree.split(|tree| punct(tree, ',')).filter(|element| !element.is_empty()) {
            let mut path = above.to_vec();
            let mut own = None;
            let mut at = 0;
            while let Some(tree) = element.get(at) {
                match tree {
                    TokenTree::Group(group) => {
                        self.use_tree(&trees(group.stream()), &path, module, public);
                        break;
                    }
                    TokenTree::Ident(word) if word == "as" => {
                        own = ident(element.get(at + 1)).map(name);
                        at = element.len();
                    }
                    TokenTree::Ident(word) => path.push(name(word)),
                    _ if punct(tree, '*') => own = Some("*".to_owned()),
                    _ => {}
                }
                at += 1;
            }
            if at >= element.len() {
                let line = element.first().map_or(0, |first| first.span().start().line);
                self.imported(path, own, line, module, public);
            }
        }
    }

    /// One leaf of a `use` tree: a name for this module, and a path that must be allowed.
    fn imported(
        &mut self,
        mut path: Segments,
        own: Option<String>,
        line: usize,
        module: &[String],
        public: bool,
    ) {
        if path.len() > 1 && path.last().is_some_and(|last| last == "self") {
            path.pop();
        }
        let own = own.or_else(|| path.last().cloned()).unwrap_or_default();
        self.scope(module).aliases.entry(own.clone()).or_default().push(path.clone());
        let import = Some((own, public));
        self.references.push(Reference { module: module.to_vec(), path, line, import });
    }

    /// The path that starts here, if it does.
    fn path(&mut self, trees: &[TokenTree], at: usize, module: &[String]) -> usize {
        let Some(head) = ident(trees.get(at)) else { return 1 };
        // After `<T as Trait>::` comes a name of that trait's, not of this module's.
        let qualified = at > 2 && is_colons(trees, at - 2) && is_punct(trees.get(at - 3), '>');
        let mut path = vec![name(head)];
        let mut done = 1;
        while is_colons(trees, at + done) {
            let Some(segment) = ident(trees.get(at + done + 2)) else { break };
            path.push(name(segment));
            done += 3;
        }
        if path.len() > 1 && (!qualified || head == "pgtable") {
            let (module, line) = (module.to_vec(), line(head));
            self.references.push(Reference { module, path, line, import: None });
        }
        done
    }

    fn find_words(&mut self, trees: &[TokenTree]) {
        for (at, tree) in trees.iter().enumerate() {
            match tree {
                TokenTree::Group(group) => {
                    let inside = self::trees(group.stream());
                    if group.delimiter() == Delimiter::Bracket && after_hash(trees, at) {
                        self.find_path_attribute(&inside);
                    }
                    self.find_words(&inside);
                }
                TokenTree::Ident(word) => {
                    let found = find_word(&name(word), trees, at);
                    self.words.extend(found.map(|found| (line(word), found)));
                }
                _ => {}
            }
        }
    }

    /// `path = ".."` in an attribute, in a `cfg_attr` too.
    fn find_path_attribute(&mut self, inside: &[TokenTree]) {
        for (at, tree) in inside.iter().enumerate() {
            if let TokenTree::Group(group) = tree {
                self.find_path_attribute(&trees(group.stream()));
            }
            if let (Some(word), Some(TokenTree::Literal(file))) =
                (ident(Some(tree)), inside.get(at + 2))
                && word == "path"
                && is_punct(inside.get(at + 1), '=')
            {
                self.words.push((line(word), Word::PathAttribute(file.to_string())));
            }
        }
    }
}

fn find_word(word: &str, trees: &[TokenTree], at: usize) -> Option<Word> {
    let next = |by: usize| ident(trees.get(at + by)).map(name);
    let called = is_punct(trees.get(at + 1), '!');
    match word {
        "asm" | "global_asm" | "naked_asm" => Some(Word::Asm),
        "target_arch" => Some(Word::TargetArch),
        "macro_rules" if called => Some(Word::MacroRules),
        "include" if called => Some(Word::Include),
        "extern" if next(1)? == "crate" && next(2)? == "self" => Some(Word::CrateByAnotherName),
        "unsafe" => {
            let foreign = next(1).is_some_and(|next| next == "extern");
            // `unsafe extern "C" fn`, with or without the name of the ABI.
            let function = (1..=3).find_map(next_function(trees, at)).is_some();
            if next(1).is_some_and(|next| next == "trait" || next == "impl") {
                return Some(Word::UnsafePromise);
            }
            let signature = next(1).is_some_and(|next| next == "fn") || foreign && function;
            Some(if signature { Word::UnsafeSignature } else { Word::UnsafeCode })
        }
        "fn" if next(1).is_some() => lines_of(trees, at).map(Word::Function),
        _ => None,
    }
}

fn next_function(trees: &[TokenTree], at: usize) -> impl Fn(usize) -> Option<()> + '_ {
    move |by| ident(trees.get(at + by)).filter(|&word| word == "fn").map(|_| ())
}

/// The lines of the function whose `fn` is at `at`, if it has a body.
fn lines_of(trees: &[TokenTree], at: usize) -> Option<usize> {
    let mut angles = 0_usize;
    for next in at + 1..trees.len() {
        match trees.get(next)? {
            TokenTree::Punct(sign) if sign.as_char() == '<' => angles += 1,
            TokenTree::Punct(sign)
                if sign.as_char() == '>' && !is_punct(trees.get(next - 1), '-') =>
            {
                angles = angles.saturating_sub(1);
            }
            tree if punct(tree, ';') => return None,
            // Braces between angles are a const argument.
            TokenTree::Group(body) if body.delimiter() == Delimiter::Brace && angles == 0 => {
                let first = trees.get(at)?.span().start().line;
                return Some(body.span_close().end().line - first + 1);
            }
            _ => {}
        }
    }
    None
}

fn append(mut start: Segments, rest: &[String]) -> Result<Segments, Outside> {
    for segment in rest {
        match segment.as_str() {
            "self" => {}
            "super" => drop(start.pop().ok_or(Outside)?),
            _ => start.push(segment.clone()),
        }
    }
    Ok(start)
}

fn trees(tokens: TokenStream) -> Vec<TokenTree> {
    tokens.into_iter().collect()
}

fn ident(tree: Option<&TokenTree>) -> Option<&Ident> {
    if let Some(TokenTree::Ident(ident)) = tree { Some(ident) } else { None }
}

fn name(ident: &Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

fn line(ident: &Ident) -> usize {
    ident.span().start().line
}

fn punct(tree: &TokenTree, sign: char) -> bool {
    matches!(tree, TokenTree::Punct(punct) if punct.as_char() == sign)
}

fn is_punct(tree: Option<&TokenTree>, sign: char) -> bool {
    tree.is_some_and(|tree| punct(tree, sign))
}

fn is_colons(trees: &[TokenTree], at: usize) -> bool {
    let joint = |tree: &TokenTree| matches!(tree, TokenTree::Punct(sign) if sign.spacing() == Spacing::Joint);
    trees.get(at).is_some_and(|first| punct(first, ':') && joint(first))
        && is_punct(trees.get(at + 1), ':')
}

fn after_hash(trees: &[TokenTree], at: usize) -> bool {
    let inner = at > 1 && is_punct(trees.get(at - 1), '!') && is_punct(trees.get(at - 2), '#');
    inner || at > 0 && is_punct(trees.get(at - 1), '#')
}
