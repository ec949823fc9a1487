//! The run's steps as a layered drawing, top to bottom: longest-path layers, barycentre order, edges that the others imply left out
//! (transitive reduction). Source: Sugiyama, Tagawa, Toda, "Methods for visual understanding of hierarchical system structures" (1981).
//!
//! Sibling steps (a sweep's sizes) are one box with a count, so that the drawing stays narrow enough for a phone.

use std::collections::BTreeMap;
use std::fmt::Write;

use petgraph::algo::toposort;
use petgraph::algo::tred::{dag_to_toposorted_adjacency_list, dag_transitive_reduction_closure};
use petgraph::graph::DiGraph;

use super::StepFacts;
use super::format::{duration, escape};
use crate::state::StepState;

const BOX_WIDTH: f64 = 176.0;
const BOX_HEIGHT: f64 = 44.0;
const GAP_X: f64 = 14.0;
const GAP_Y: f64 = 30.0;
const BEND_WIDTH: f64 = 26.0;
const MARGIN: f64 = 6.0;

/// A box: one step, or siblings.
#[derive(Debug, Clone)]
struct Node {
    label: String,
    note: String,
    state: StepState,
    /// Whether it is only a place where a long edge passes a layer.
    bend: bool,
    layer: usize,
    /// Centre.
    x: f64,
}

/// The drawing; edges connect neighbouring layers only, long ones through bends.
struct Layout {
    nodes: Vec<Node>,
    edges: Vec<(usize, usize)>,
    layers: Vec<Vec<usize>>,
}

/// The steps of a run as an SVG element.
pub(crate) fn steps_svg(steps: &[StepFacts]) -> String {
    let (nodes, edges) = boxes(steps);
    if nodes.is_empty() {
        return String::new();
    }
    let edges = reduced(nodes.len(), &edges);
    let mut layout = Layout::new(nodes, &edges);
    layout.order();
    let width = layout.place();
    layout.draw(width)
}

/// Steps to boxes: siblings of one job and kind with the same word before `[` are one box.
fn boxes(steps: &[StepFacts]) -> (Vec<Node>, Vec<(usize, usize)>) {
    let mut groups: Vec<(String, Vec<&StepFacts>)> = Vec::new();
    let mut index_of: BTreeMap<&str, usize> = BTreeMap::new();
    for step in steps {
        let stem = step.name.split('[').next().unwrap_or(&step.name);
        let found = groups.iter().position(|(name, _)| name == stem);
        let index = found.unwrap_or_else(|| {
            groups.push((stem.to_owned(), Vec::new()));
            groups.len() - 1
        });
        groups[index].1.push(step);
        index_of.insert(&step.name, index);
    }
    let mut edges: Vec<(usize, usize)> = steps
        .iter()
        .flat_map(|step| step.needs.iter().map(move |need| (need.as_str(), step.name.as_str())))
        .filter_map(|(from, to)| Some((*index_of.get(from)?, *index_of.get(to)?)))
        .filter(|(from, to)| from != to)
        .collect();
    edges.sort_unstable();
    edges.dedup();
    (groups.iter().map(|(stem, steps)| node(stem, steps)).collect(), edges)
}

fn node(stem: &str, steps: &[&StepFacts]) -> Node {
    let single = steps.len() == 1;
    let secs: f64 = steps.iter().filter_map(|step| step.wall_secs).sum();
    let state = group_state(steps);
    let kind = steps.first().map_or("", |step| step.kind.as_str());
    let time = if secs > 0.0 { format!(" · {}", duration(secs)) } else { String::new() };
    let note = if single {
        let what = if stem.ends_with(kind) { state.as_str() } else { kind };
        format!("{what}{time}")
    } else {
        let done = steps.iter().filter(|step| step.state.is_done()).count();
        format!("{done} of {} done{time}", steps.len())
    };
    let label = if single { steps[0].name.clone() } else { format!("{stem} ×{}", steps.len()) };
    Node { label, note, state, bend: false, layer: 0, x: 0.0 }
}

/// The state that a group shows: the one that a reader must know of first.
fn group_state(steps: &[&StepFacts]) -> StepState {
    let first = [
        StepState::Failed,
        StepState::Unknown,
        StepState::Running,
        StepState::Submitted,
        StepState::Backoff,
        StepState::Cancelled,
        StepState::Blocked,
        StepState::Waiting,
        StepState::Succeeded,
    ];
    let has = |state: &StepState| steps.iter().any(|step| step.state == *state);
    first.into_iter().find(has).unwrap_or(StepState::Cached)
}

/// The edges that no others imply.
fn reduced(num_nodes: usize, edges: &[(usize, usize)]) -> Vec<(usize, usize)> {
    let mut graph = DiGraph::<(), (), u32>::default();
    let ids: Vec<_> = (0..num_nodes).map(|_| graph.add_node(())).collect();
    for (from, to) in edges {
        graph.add_edge(ids[*from], ids[*to], ());
    }
    let Ok(order) = toposort(&graph, None) else { return Vec::new() };
    let (sorted, _) = dag_to_toposorted_adjacency_list::<_, u32>(&graph, &order);
    let (reduction, _) = dag_transitive_reduction_closure(&sorted);
    let kept = reduction.edge_indices().filter_map(|edge| reduction.edge_endpoints(edge));
    kept.map(|(from, to)| (order[from as usize].index(), order[to as usize].index())).collect()
}

impl Layout {
    fn new(mut nodes: Vec<Node>, edges: &[(usize, usize)]) -> Self {
        for _ in 0..nodes.len() {
            for (from, to) in edges {
                nodes[*to].layer = nodes[*to].layer.max(nodes[*from].layer + 1);
            }
        }
        let mut short = Vec::new();
        for (from, to) in edges {
            let mut above = *from;
            for layer in nodes[*from].layer + 1..nodes[*to].layer {
                let bend =
                    Node { label: String::new(), note: String::new(), bend: true, layer, ..nodes[*from] };
                nodes.push(bend);
                short.push((above, nodes.len() - 1));
                above = nodes.len() - 1;
            }
            short.push((above, *to));
        }
        let depth = nodes.iter().map(|node| node.layer).max().unwrap_or(0);
        let layers = (0..=depth)
            .map(|layer| (0..nodes.len()).filter(|index| nodes[*index].layer == layer).collect())
            .collect();
        Self { nodes, edges: short, layers }
    }

    /// Orders each layer by the mean place of its neighbours, down and up a few times.
    fn order(&mut self) {
        for sweep in 0..8 {
            let down = sweep % 2 == 0;
            let depth = self.layers.len();
            for step in 1..depth {
                let layer = if down { step } else { depth - 1 - step };
                let place: BTreeMap<usize, f64> =
                    self.layers.iter().flatten().map(|node| (*node, self.rank(*node))).collect();
                let mean = |node: usize| {
                    let near: Vec<f64> =
                        self.neighbours(node, down).iter().map(|other| place[other]).collect();
                    if near.is_empty() { place[&node] } else { near.iter().sum::<f64>() / near.len() as f64 }
                };
                let mut keyed: Vec<(f64, usize)> =
                    self.layers[layer].iter().map(|node| (mean(*node), *node)).collect();
                keyed.sort_by(|a, b| a.0.total_cmp(&b.0));
                self.layers[layer] = keyed.into_iter().map(|(_, node)| node).collect();
            }
        }
    }

    fn rank(&self, node: usize) -> f64 {
        let layer = &self.layers[self.nodes[node].layer];
        let index = layer.iter().position(|other| *other == node).unwrap_or(0);
        (index as f64 + 0.5) / layer.len() as f64
    }

    fn neighbours(&self, node: usize, above: bool) -> Vec<usize> {
        self.edges
            .iter()
            .filter_map(|(from, to)| {
                let (here, there) = if above { (to, from) } else { (from, to) };
                (*here == node).then_some(*there)
            })
            .collect()
    }

    fn width(&self, node: usize) -> f64 {
        if self.nodes[node].bend { BEND_WIDTH } else { BOX_WIDTH }
    }

    /// Gives each node its centre and the drawing its width: rows are centred, then pulled towards their neighbours without
    /// changing the order or touching.
    fn place(&mut self) -> f64 {
        for layer in self.layers.clone() {
            let mut x = 0.0;
            for node in &layer {
                self.nodes[*node].x = x + self.width(*node) / 2.0;
                x += self.width(*node) + GAP_X;
            }
            let shift = (x - GAP_X) / 2.0;
            for node in &layer {
                self.nodes[*node].x -= shift;
            }
        }
        for sweep in 0..24 {
            let above = sweep % 2 == 0;
            for layer in self.layers.clone() {
                self.pull(&layer, above);
            }
        }
        let edge = |side: f64| {
            let reach = |node: usize| side * self.nodes[node].x + self.width(node) / 2.0;
            (0..self.nodes.len()).map(reach).fold(0.0, f64::max)
        };
        let (left, right) = (edge(-1.0), edge(1.0));
        for node in &mut self.nodes {
            node.x += left + MARGIN;
        }
        left + right + 2.0 * MARGIN
    }

    fn pull(&mut self, layer: &[usize], above: bool) {
        let wish = |layout: &Self, node: usize| {
            let near = layout.neighbours(node, above);
            if near.is_empty() {
                return layout.nodes[node].x;
            }
            near.iter().map(|other| layout.nodes[*other].x).sum::<f64>() / near.len() as f64
        };
        for (index, node) in layer.iter().enumerate() {
            let space = |a: usize, b: usize| f64::midpoint(self.width(a), self.width(b)) + GAP_X;
            let low = index
                .checked_sub(1)
                .map_or(f64::NEG_INFINITY, |i| self.nodes[layer[i]].x + space(layer[i], *node));
            let high =
                layer.get(index + 1).map_or(f64::INFINITY, |next| self.nodes[*next].x - space(*node, *next));
            let target = wish(self, *node);
            self.nodes[*node].x = if low <= high { target.clamp(low, high) } else { self.nodes[*node].x };
        }
    }

    fn top(layer: usize) -> f64 {
        MARGIN + layer as f64 * (BOX_HEIGHT + GAP_Y)
    }

    fn draw(&self, width: f64) -> String {
        let height = Self::top(self.layers.len()) - GAP_Y + MARGIN;
        let steps = self.nodes.iter().filter(|node| !node.bend);
        let words: Vec<String> =
            steps.map(|node| format!("{}: {}", node.label, node.state.as_str())).collect();
        let mut svg = format!(
            r#"<svg class="dag" viewBox="0 0 {width:.0} {height:.0}" width="{width:.0}" height="{height:.0}" role="img" aria-label="Steps of the run. {}">"#,
            escape(&words.join(", "))
        );
        for (from, to) in &self.edges {
            self.draw_edge(&mut svg, *from, *to);
        }
        for node in self.nodes.iter().filter(|node| !node.bend) {
            let (left, top) = (node.x - BOX_WIDTH / 2.0, Self::top(node.layer));
            let _ = write!(
                svg,
                r#"<g class="node {}"><title>{}: {}</title><rect x="{left:.1}" y="{top:.1}" width="{BOX_WIDTH}" height="{BOX_HEIGHT}" rx="9"/><text class="name" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text><text class="note" x="{:.1}" y="{:.1}" text-anchor="middle">{}</text></g>"#,
                node.state.as_str(),
                escape(&node.label),
                node.state.as_str(),
                node.x,
                top + 19.0,
                escape(&cut(&node.label, 23)),
                node.x,
                top + 35.0,
                escape(&node.note)
            );
        }
        svg.push_str("</svg>");
        svg
    }

    fn draw_edge(&self, svg: &mut String, from: usize, to: usize) {
        let (above, below) = (&self.nodes[from], &self.nodes[to]);
        let start = Self::top(above.layer) + BOX_HEIGHT;
        let end = Self::top(below.layer);
        let middle = f64::midpoint(start, end);
        let (x, to_x) = (above.x, below.x);
        let pass = if above.bend {
            format!("M{x:.1} {:.1}V{start:.1}", start - BOX_HEIGHT)
        } else {
            format!("M{x:.1} {start:.1}")
        };
        let _ = write!(
            svg,
            r#"<path class="edge" d="{pass}C{x:.1} {middle:.1} {to_x:.1} {middle:.1} {to_x:.1} {end:.1}"/>"#
        );
    }
}

/// The text in at most `most` characters.
fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most - 1).collect();
    format!("{kept}…")
}

#[cfg(test)]
mod tests {
    use super::super::invented;
    use super::*;

    #[test]
    fn an_edge_that_others_imply_is_left_out() {
        assert_eq!(reduced(3, &[(0, 1), (0, 2), (1, 2)]), vec![(0, 1), (1, 2)]);
    }

    #[test]
    fn boxes_of_a_layer_do_not_touch_and_edges_go_down() {
        let (nodes, edges) = boxes(&invented::facts().steps);
        let edges = reduced(nodes.len(), &edges);
        let mut layout = Layout::new(nodes, &edges);
        layout.order();
        let width = layout.place();
        for layer in &layout.layers {
            for pair in layer.windows(2) {
                let space = layout.nodes[pair[1]].x - layout.nodes[pair[0]].x;
                assert!(space >= f64::midpoint(layout.width(pair[0]), layout.width(pair[1])) - 1e-9);
            }
        }
        assert!(
            layout.edges.iter().all(|(from, to)| layout.nodes[*from].layer + 1 == layout.nodes[*to].layer)
        );
        assert!(layout.nodes.iter().all(|node| node.x >= 0.0 && node.x <= width));
    }

    #[test]
    fn siblings_share_a_box_and_labels_are_escaped() {
        let mut facts = invented::facts();
        facts.steps[0].name = "<corpus>".into();
        let svg = steps_svg(&facts.steps);
        assert!(svg.contains("law/sweep ×8") && svg.contains("&lt;corpus&gt;") && !svg.contains("<corpus>"));
    }
}
