//! The proof as one HTML page: a box for each topic, table and view, a row for each leaf, a line for each
//! step.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use super::{LeakProof, ProofNode, ProofPlace, ProofStep};
use crate::html::HtmlText;

// All sizes are pixels of the drawing.
/// Height of a leaf's row.
const ROW: usize = 20;
/// Height of a box's name.
const HEAD: usize = 26;
/// Space between two boxes of a layer.
const GAP: usize = 22;
/// Least width of a box. Longer names make the boxes of their layer wider.
const BOX: usize = 240;
/// Space between two layers, for lines and the names of their steps.
const SPACE: usize = 170;
/// Left edge of the first layer.
const LEFT: usize = 10;
/// Width of a letter of names, times ten: 12 pixels high, of one width.
const LETTER: usize = 74;
/// Width of a letter of tags and steps, times ten: 10 pixels high.
const SMALL_LETTER: usize = 62;
/// Most letters of a step's name on its line. The whole name is in the line's title.
const STEP_LETTERS: usize = 24;
/// Top of the first box, below the layers' names.
const TOP: usize = 34;

const STYLE: &str = include_str!("page.css");
const SCRIPT: &str = include_str!("page.js");

/// A topic, table or view with its leaves, as drawn.
struct ProofBox {
    place: ProofPlace,
    name: String,
    /// Column of the drawing, from 0.
    layer: usize,
    /// Top edge in pixels.
    y: usize,
    /// Indexes of nodes, in the order of the rows.
    leaves: Vec<usize>,
}

/// The left edge and the width of each layer's boxes, in pixels.
struct LayerColumns(Vec<(usize, usize)>);

impl LayerColumns {
    /// Returns the columns in which no text of these boxes is cut off.
    fn of(boxes: &[ProofBox], rows: &BTreeMap<usize, ProofRow>) -> Self {
        let layers = boxes.iter().map(|drawn| drawn.layer + 1).max().unwrap_or(1);
        let mut columns = vec![(0, BOX); layers];
        for drawn in boxes {
            let widths = drawn.leaves.iter().filter_map(|leaf| rows.get(leaf)).map(ProofRow::width);
            let name = 16 + text_width(&drawn.name, LETTER);
            let (_, width) = &mut columns[drawn.layer];
            *width = widths.chain([name, *width]).max().unwrap_or(BOX);
        }

        let mut left = LEFT;
        for (x, width) in &mut columns {
            *x = left;
            left += *width + SPACE;
        }
        Self(columns)
    }

    /// Returns the left edge and the width of a layer.
    fn at(&self, layer: usize) -> (usize, usize) {
        self.0.get(layer).copied().unwrap_or((LEFT, BOX))
    }

    /// Returns the width of the drawing.
    fn total(&self) -> usize {
        self.0.last().map_or(BOX, |(x, width)| x + width) + LEFT
    }
}

/// The texts of a leaf's row: the leaf's name, and its tags, classification and end.
struct ProofRow {
    name: String,
    labels: String,
}

impl ProofRow {
    /// Returns the width of both texts with the space around them.
    fn width(&self) -> usize {
        36 + text_width(&self.name, LETTER) + text_width(&self.labels, SMALL_LETTER)
    }
}

/// Returns the width of a text in pixels. `letter` is the width of a letter, times ten.
fn text_width(text: &str, letter: usize) -> usize {
    (text.chars().count() * letter).div_ceil(10)
}

/// Returns the page of [`LeakProof::html`].
pub(super) fn page(proof: &LeakProof) -> String {
    // The page is published: it names no folder of the machine that makes it.
    let proof = &proof.below_the_contracts_folder();

    // The boxes decide the size of the drawing.
    let boxes = boxes(proof);
    let rows = rows(proof);
    let columns = LayerColumns::of(&boxes, &rows);
    let width = columns.total();
    let bottom = |drawn: &ProofBox| drawn.y + HEAD + drawn.leaves.len() * ROW;
    let height = boxes.iter().map(bottom).max().unwrap_or(0) + GAP;

    // Head, verdict and legend. The policy forbids the page to load anything.
    let mut page = String::new();
    // Writing to a String does not fail.
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <title>Leak proof</title><style>{STYLE}</style></head><body>\n<h1>Leak proof</h1>\n"
    );
    verdict(proof, &mut page);
    page.push_str(
        "<p class=\"how\"><input id=\"find\" type=\"search\" placeholder=\"find a leaf, topic, table or view\" \
         aria-label=\"find a leaf, topic, table or view\"> \
         <span class=\"key masked\">masked</span> <span class=\"key plain\">as it is</span> \
         <span class=\"key decides\">decides rows</span> <span class=\"key leak\">leak</span></p>\n\
         <div class=\"graph\">\n",
    );

    // The drawing. Lines come before boxes, so that boxes cover their ends. A leak's line comes last, so that
    // no box hides it.
    let _ = writeln!(
        page,
        "<svg id=\"graph\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"ways of every tagged or restricted leaf\">"
    );
    heads(&columns, &mut page);
    let at = positions(&boxes, &columns);
    lines(proof, &at, false, &mut page);
    for drawn in &boxes {
        draw(proof, drawn, &columns, &rows, &mut page);
    }
    lines(proof, &at, true, &mut page);
    page.push_str("</svg>\n</div>\n");

    // The text serves readers without SVG, and the browser's own search.
    let _ = write!(
        page,
        "<h2>As text</h2>\n<pre>{}</pre>\n<script>{SCRIPT}</script>\n</body></html>\n",
        HtmlText(&proof.text())
    );
    page
}

/// Writes the verdict, and the list of leaks if there are any.
fn verdict(proof: &LeakProof, page: &mut String) {
    // A proof that holds has one line.
    let leaves = proof.leaves().count();
    if proof.holds() {
        let _ = writeln!(
            page,
            "<p class=\"verdict holds\">Proven: {leaves} tagged or restricted leaves; every way to an open place has a masking step.</p>"
        );
        return;
    }

    // Else every leak with its way, file, line and hint.
    let _ = writeln!(
        page,
        "<p class=\"verdict broken\">Not proven: {} ways without a masking step.</p>\n<ul class=\"leaks\">",
        proof.leaks.len()
    );
    for leak in &proof.leaks {
        let way = leak.path.join(" → ");
        let _ = writeln!(
            page,
            "<li><code>{}</code><br>{}:{} – {}</li>",
            HtmlText(&way),
            HtmlText(&leak.file),
            leak.line,
            HtmlText(&leak.hint)
        );
    }
    page.push_str("</ul>\n");
}

/// Returns every box with its layer and height. The layers are: raw topics, masked topics and dead letters,
/// facts, tables, views.
fn boxes(proof: &LeakProof) -> Vec<ProofBox> {
    // One box for each location, in the order of the nodes.
    let mut numbers: BTreeMap<(ProofPlace, &str), usize> = BTreeMap::new();
    let mut boxes: Vec<ProofBox> = Vec::new();
    let mut of_node = vec![0; proof.nodes.len()];
    for (number, node) in proof.nodes.iter().enumerate() {
        let place = *numbers.entry((node.place, &node.name)).or_insert_with(|| {
            let layer = match node.place {
                ProofPlace::RawTopic => 0,
                ProofPlace::DeadLetter | ProofPlace::MaskedTopic => 1,
                ProofPlace::FactsTopic => 2,
                ProofPlace::RawTable | ProofPlace::Table => 3,
                ProofPlace::View => 4,
            };
            boxes.push(ProofBox {
                place: node.place,
                name: node.name.clone(),
                layer,
                y: 0,
                leaves: Vec::new(),
            });
            boxes.len() - 1
        });
        boxes[place].leaves.push(number);
        of_node[number] = place;
    }

    // A view is drawn to the right of every view that it reads. Views have no circles; the limit of rounds
    // keeps the loop finite all the same.
    for _ in 0..boxes.len().min(64) {
        let mut moved = false;
        for edge in &proof.edges {
            let Some(to) = edge.to.map(|to| of_node[to]) else { continue };
            let from = of_node[edge.from];
            if boxes[to].place == ProofPlace::View && boxes[from].layer >= boxes[to].layer && from != to {
                boxes[to].layer = boxes[from].layer + 1;
                moved = true;
            }
        }
        if !moved {
            break;
        }
    }

    // The boxes of a layer are stacked from the top.
    let mut next: BTreeMap<usize, usize> = BTreeMap::new();
    for drawn in &mut boxes {
        let y = next.entry(drawn.layer).or_insert(TOP);
        drawn.y = *y;
        *y += HEAD + drawn.leaves.len() * ROW + GAP;
    }
    boxes
}

/// Returns the texts of each node's row. Tags and classification are known only at raw topics.
fn rows(proof: &LeakProof) -> BTreeMap<usize, ProofRow> {
    // The steps of leaves that end, for example at a drop.
    let ends = proof.edges.iter().filter(|edge| edge.to.is_none());
    let gone: BTreeMap<usize, &ProofStep> = ends.map(|edge| (edge.from, &edge.step)).collect();
    let row = |(number, node): (usize, &ProofNode)| {
        let mut labels = node.tags.clone();
        labels.extend((!node.classification.is_empty()).then(|| node.classification.clone()));
        labels.extend(gone.get(&number).map(|step| step.to_string()));
        (number, ProofRow { name: node.leaf.clone(), labels: labels.join(", ") })
    };
    proof.nodes.iter().enumerate().map(row).collect()
}

/// Writes the name of each layer above it.
fn heads(columns: &LayerColumns, page: &mut String) {
    for (layer, (x, _)) in columns.0.iter().enumerate() {
        let word = match layer {
            0 => "raw topics",
            1 => "masked topics, dead letters",
            2 => "facts",
            3 => "tables",
            _ => "views",
        };
        let _ = writeln!(page, "<text class=\"head\" x=\"{x}\" y=\"18\">{word}</text>");
    }
}

/// The place of a node's row in the drawing, in pixels.
struct RowPosition {
    left: usize,
    right: usize,
    /// The vertical middle.
    y: usize,
}

/// Returns the place of each node's row.
fn positions(boxes: &[ProofBox], columns: &LayerColumns) -> BTreeMap<usize, RowPosition> {
    let mut at = BTreeMap::new();
    for drawn in boxes {
        let (left, width) = columns.at(drawn.layer);
        for (row, leaf) in drawn.leaves.iter().enumerate() {
            let y = drawn.y + HEAD + row * ROW + ROW / 2;
            at.insert(*leaf, RowPosition { left, right: left + width, y });
        }
    }
    at
}

/// Writes a line for each step: those of leaks, or all others.
fn lines(proof: &LeakProof, at: &BTreeMap<usize, RowPosition>, of_leaks: bool, page: &mut String) {
    // Several lines can end at one row with one name.
    let mut named: BTreeSet<(usize, String)> = BTreeSet::new();
    for edge in &proof.edges {
        let (Some(to), Some(from)) = (edge.to, at.get(&edge.from)) else { continue };
        let Some(end) = at.get(&to) else { continue };

        // A step of a leak is drawn as such, for it decides the verdict.
        let is_leak = leaks_by(proof, edge.from, to);
        if is_leak != of_leaks {
            continue;
        }
        let class = match &edge.step {
            _ if is_leak => "leak",
            ProofStep::Masked(_) => "masked",
            ProofStep::AsIs => "plain",
            ProofStep::Decides => "decides",
        };

        // A curve from the right edge of the source to the left edge of the target. Within one layer it ends
        // at the right edge, so that it does not cross the box.
        let (x, y) = (from.right, from.y);
        let same_layer = end.left == from.left;
        let (in_x, bend) = if same_layer { (end.right, 30) } else { (end.left, 60) };
        let second = if same_layer { in_x + bend } else { in_x.saturating_sub(bend) };
        let _ = writeln!(
            page,
            "<path class=\"step {class}\" data-from=\"{}\" data-to=\"{to}\" d=\"M{x} {y} C{} {y} {second} {} {in_x} {}\"><title>{}</title></path>",
            edge.from,
            x + bend,
            end.y,
            end.y,
            HtmlText(&edge.step.to_string())
        );

        // The name of the step, at the end of its line. A line without a name leaves the value as it is.
        let name = short(&edge.step.to_string(), STEP_LETTERS);
        if class != "plain" && named.insert((to, name.clone())) {
            let (x, side) = if same_layer { (in_x + 34, "start") } else { (in_x - 6, "end") };
            let _ = writeln!(
                page,
                "<text class=\"name-of-step {class}\" text-anchor=\"{side}\" x=\"{x}\" y=\"{}\">{}</text>",
                end.y - 4,
                HtmlText(&name)
            );
        }
    }
}

/// Returns true if these two nodes follow each other on the way of a leak.
fn leaks_by(proof: &LeakProof, from: usize, to: usize) -> bool {
    let (Some(from), Some(to)) = (proof.nodes.get(from), proof.nodes.get(to)) else { return false };
    let (from, to) = (from.shown(), to.shown());
    proof.leaks.iter().any(|leak| leak.path.windows(2).any(|pair| pair[0] == from && pair[1] == to))
}

/// Writes one box with its rows.
fn draw(
    proof: &LeakProof,
    drawn: &ProofBox,
    columns: &LayerColumns,
    rows: &BTreeMap<usize, ProofRow>,
    page: &mut String,
) {
    // The frame and the name.
    let ((x, width), y) = (columns.at(drawn.layer), drawn.y);
    let class = if drawn.place.is_open() { "open" } else { "restricted" };
    let height = HEAD + drawn.leaves.len() * ROW;
    let _ = writeln!(
        page,
        "<g class=\"place {class}\"><rect x=\"{x}\" y=\"{y}\" width=\"{width}\" height=\"{height}\" rx=\"5\"/>\
         <text class=\"name\" x=\"{}\" y=\"{}\">{}<title>{} ({class})</title></text>",
        x + 8,
        y + 18,
        HtmlText(&drawn.name),
        HtmlText(&drawn.name)
    );

    // A row for each leaf.
    for (number, leaf) in drawn.leaves.iter().enumerate() {
        let (Some(node), Some(row)) = (proof.nodes.get(*leaf), rows.get(leaf)) else { continue };
        let row_y = y + HEAD + number * ROW;
        let _ = writeln!(
            page,
            "<g class=\"leaf\" data-node=\"{leaf}\" data-name=\"{} {}\"><rect x=\"{x}\" y=\"{row_y}\" width=\"{width}\" height=\"{ROW}\"/>\
             <text x=\"{}\" y=\"{}\">{}<title>{}</title></text><text class=\"tags\" x=\"{}\" y=\"{}\">{}</text></g>",
            HtmlText(&drawn.name),
            HtmlText(&node.leaf),
            x + 12,
            row_y + 14,
            HtmlText(&row.name),
            HtmlText(&node.shown()),
            x + width - 8,
            row_y + 14,
            HtmlText(&row.labels)
        );
    }
    page.push_str("</g>\n");
}

/// Returns the text, or its first characters with an ellipsis: at most `most` of them.
fn short(text: &str, most: usize) -> String {
    match text.chars().count() > most {
        true => text.chars().take(most - 1).chain(['…']).collect(),
        false => text.to_owned(),
    }
}
