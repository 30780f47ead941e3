//! What is drawn of a report: its flat list of components as a tree of rows in sections. Bounded, whatever the
//! report says: circles end, groups too large show what is not well first, and the rest is counted.

use std::collections::{BTreeMap, BTreeSet};

use penstock_proto::status::v1::{Component, Kind, Report, State};

/// Most rows below one: more than fits on a screen is not read.
const SIBLINGS_MAX: usize = 50;
/// Most rows in all.
const ROWS_MAX: usize = 500;
/// Deepest row: real trees have four levels.
const DEPTH_MAX: usize = 8;

/// Rows that belong together.
#[derive(Debug, PartialEq)]
pub(super) struct Section<'a> {
    /// What they are. Empty: the mesh itself.
    pub(super) title: &'static str,
    pub(super) rows: Vec<Row<'a>>,
}

/// A line of the tree.
#[derive(Debug, PartialEq)]
pub(super) struct Row<'a> {
    /// For each level above and this one: whether more follows on it. Empty: the row is at the edge.
    pub(super) guides: Vec<bool>,
    pub(super) what: What<'a>,
}

/// What a line shows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum What<'a> {
    /// A component as it reports itself.
    Component(&'a Component),
    /// A component that another one stands on: drawn again, without what it stands on itself.
    Ground { name: &'a str, component: Option<&'a Component> },
    /// Rows that are left out, by state.
    More(Counts),
}

/// How many components are in which state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    pub(super) up: usize,
    pub(super) degraded: usize,
    pub(super) down: usize,
    pub(super) unknown: usize,
}

impl Counts {
    fn add(&mut self, state: State) {
        match state {
            State::Up => self.up += 1,
            State::Degraded => self.degraded += 1,
            State::Down => self.down += 1,
            State::Unspecified => self.unknown += 1,
        }
    }
}

/// The sections of a report, those without rows left out.
pub(super) fn sections(report: &Report) -> Vec<Section<'_>> {
    let forest = Forest::new(&report.components);
    let mut room = ROWS_MAX;
    let services = forest.services(&mut room);
    let (models, used) = forest.models(&mut room);
    let is_idle = |component: &&Component| {
        component.kind() == Kind::Deployment && !used.contains(component.name.as_str())
    };
    let idle: Vec<Node> = report.components.iter().filter(is_idle).map(Node::leaf).collect();
    let mut others = Vec::new();
    draw(&idle, &[], &mut room, &mut others);
    let sections = [("", services), ("models", models), ("deployments without a model", others)];
    let sections = sections.into_iter().map(|(title, rows)| Section { title, rows });
    sections.filter(|section| !section.rows.is_empty()).collect()
}

/// A component with what is drawn below it.
#[derive(Debug)]
struct Node<'a> {
    what: What<'a>,
    below: Vec<Node<'a>>,
}

impl<'a> Node<'a> {
    fn leaf(component: &'a Component) -> Self {
        Self { what: What::Component(component), below: Vec::new() }
    }

    fn state(&self) -> State {
        match &self.what {
            What::Component(component) | What::Ground { component: Some(component), .. } => component.state(),
            What::Ground { component: None, .. } | What::More(_) => State::Unspecified,
        }
    }
}

#[derive(Debug)]
struct Forest<'a> {
    components: &'a [Component],
    by_name: BTreeMap<&'a str, usize>,
    /// Services, stores and parts by that of which they are part.
    parts: BTreeMap<&'a str, Vec<usize>>,
}

impl<'a> Forest<'a> {
    fn new(components: &'a [Component]) -> Self {
        let mut by_name = BTreeMap::new();
        let mut parts: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (index, component) in components.iter().enumerate() {
            by_name.entry(component.name.as_str()).or_insert(index);
            if is_of_the_mesh(component) {
                parts.entry(component.part_of.as_str()).or_default().push(index);
            }
        }
        Self { components, by_name, parts }
    }

    fn services(&self, room: &mut usize) -> Vec<Row<'a>> {
        let mut seen = BTreeSet::new();
        let mut roots = Vec::new();
        let is_root = |component: &Component| !self.by_name.contains_key(component.part_of.as_str());
        let of_mesh = || self.components.iter().enumerate().filter(|(_, one)| is_of_the_mesh(one));
        for (index, _) in of_mesh().filter(|(_, component)| is_root(component)) {
            roots.extend(self.grow(index, &mut seen, 0));
        }
        // What is part of itself, by a circle or under something of another section, has no root: it is one.
        for (index, _) in of_mesh() {
            roots.extend(self.grow(index, &mut seen, 0));
        }
        let mut rows = Vec::new();
        draw(&roots, &[], room, &mut rows);
        rows
    }

    /// The component with its parts, unless it was seen.
    fn grow(&self, index: usize, seen: &mut BTreeSet<usize>, depth: usize) -> Option<Node<'a>> {
        let component = self.components.get(index)?;
        if !seen.insert(index) {
            return None;
        }
        let mut node = Node::leaf(component);
        // Two components of one name: the parts belong to the first.
        let is_first = self.by_name.get(component.name.as_str()) == Some(&index);
        let parts = self.parts.get(component.name.as_str()).filter(|_| is_first && depth < DEPTH_MAX);
        for part in parts.into_iter().flatten() {
            node.below.extend(self.grow(*part, seen, depth + 1));
        }
        Some(node)
    }

    /// Models with what they stand on, and the names of all that any model stands on.
    fn models(&self, room: &mut usize) -> (Vec<Row<'a>>, BTreeSet<&'a str>) {
        let mut used = BTreeSet::new();
        let mut nodes = Vec::new();
        for model in self.components.iter().filter(|component| component.kind() == Kind::Model) {
            let mut node = Node::leaf(model);
            for name in &model.stands_on {
                used.insert(name.as_str());
                let index = self.by_name.get(name.as_str());
                let component = index.and_then(|index| self.components.get(*index));
                node.below.push(Node { what: What::Ground { name, component }, below: Vec::new() });
            }
            nodes.push(node);
        }
        let mut rows = Vec::new();
        draw(&nodes, &[], room, &mut rows);
        (rows, used)
    }
}

/// Models and deployments have sections of their own.
fn is_of_the_mesh(component: &Component) -> bool {
    !matches!(component.kind(), Kind::Model | Kind::Deployment)
}

/// Lays the nodes out as rows below the levels of `guides`, as long as there is room.
fn draw<'a>(nodes: &[Node<'a>], guides: &[bool], room: &mut usize, rows: &mut Vec<Row<'a>>) {
    let mut shown: Vec<&Node> = nodes.iter().collect();
    let mut more = Counts::default();
    let most = SIBLINGS_MAX.min(*room);
    if shown.len() > most {
        // What is not well first; within a state by name.
        shown.sort_by_key(|node| std::cmp::Reverse(badness(node.state())));
        shown.drain(most..).for_each(|node| more.add(node.state()));
    }
    let is_cut = more != Counts::default();
    // The places of this level are taken before those below it: a level is never cut for a deeper one.
    *room = room.saturating_sub(shown.len());
    let last = shown.len();
    // Only what hangs below something has lines that lead to it.
    let guides_of = |follows: bool| -> Vec<bool> { guides.iter().copied().chain([follows]).collect() };
    for (number, node) in shown.into_iter().enumerate() {
        let guides = guides_of(number + 1 < last || is_cut);
        rows.push(Row { guides: guides.clone(), what: node.what });
        draw(&node.below, &guides, room, rows);
    }
    if is_cut {
        rows.push(Row { guides: guides_of(false), what: What::More(more) });
    }
}

fn badness(state: State) -> u8 {
    match state {
        State::Down => 3,
        State::Degraded => 2,
        State::Unspecified => 1,
        State::Up => 0,
    }
}
