//! The proof as one HTML page: a box for each topic, table and view, a row for each leaf, a line for each
//! step.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::{LeakProof, ProofPlace, ProofStep};
use crate::html::HtmlText;

// All sizes are pixels of the drawing.
/// Height of a leaf's row.
const ROW: usize = 20;
/// Height of a box's name.
const HEAD: usize = 26;
/// Space between two boxes of a layer.
const GAP: usize = 22;
/// Width of a box.
const BOX: usize = 380;
/// Distance of the left edges of two layers: a box and the space for lines.
const LAYER: usize = 500;
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

/// Returns the page of [`LeakProof::html`].
pub(super) fn page(proof: &LeakProof) -> String {
    // The boxes decide the size of the drawing.
    let boxes = boxes(proof);
    let layers = boxes.iter().map(|drawn| drawn.layer + 1).max().unwrap_or(1);
    let width = layers * LAYER - (LAYER - BOX) + 20;
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

    // The drawing. Lines come before boxes, so that boxes cover their ends.
    let _ = writeln!(
        page,
        "<svg id=\"graph\" width=\"{width}\" height=\"{height}\" viewBox=\"0 0 {width} {height}\" role=\"img\" \
         aria-label=\"ways of every tagged or restricted leaf\">"
    );
    heads(&boxes, &mut page);
    let at = positions(&boxes);
    lines(proof, &at, &mut page);
    let gone: BTreeMap<usize, &ProofStep> =
        proof.edges.iter().filter(|edge| edge.to.is_none()).map(|edge| (edge.from, &edge.step)).collect();
    for drawn in &boxes {
        draw(proof, drawn, &gone, &mut page);
    }
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

/// Writes the name of each layer above it.
fn heads(boxes: &[ProofBox], page: &mut String) {
    let layers = boxes.iter().map(|drawn| drawn.layer).max().unwrap_or(0);
    for layer in 0..=layers {
        let word = match layer {
            0 => "raw topics",
            1 => "masked topics, dead letters",
            2 => "facts",
            3 => "tables",
            _ => "views",
        };
        let _ = writeln!(page, "<text class=\"head\" x=\"{}\" y=\"18\">{word}</text>", 10 + layer * LAYER);
    }
}

/// Returns the left edge and the vertical middle of each node's row, in pixels.
fn positions(boxes: &[ProofBox]) -> BTreeMap<usize, (usize, usize)> {
    let mut at = BTreeMap::new();
    for drawn in boxes {
        for (row, leaf) in drawn.leaves.iter().enumerate() {
            at.insert(*leaf, (10 + drawn.layer * LAYER, drawn.y + HEAD + row * ROW + ROW / 2));
        }
    }
    at
}

/// Writes a line for each step.
fn lines(proof: &LeakProof, at: &BTreeMap<usize, (usize, usize)>, page: &mut String) {
    for edge in &proof.edges {
        let (Some(to), Some((x, y))) = (edge.to, at.get(&edge.from)) else { continue };
        let Some((to_x, to_y)) = at.get(&to) else { continue };

        // A step of a leak is drawn as such, for it decides the verdict.
        let is_leak = leaks_by(proof, edge.from, to);
        let class = match &edge.step {
            _ if is_leak => "leak",
            ProofStep::Masked(_) => "masked",
            ProofStep::AsIs => "plain",
            ProofStep::Decides => "decides",
        };

        // A curve from the right edge of the source to the left edge of the target. Within one layer it ends
        // at the right edge, so that it does not cross the box.
        let (x, bend) = if to_x > x { (x + BOX, 60) } else { (x + BOX, 30) };
        let in_x = if *to_x + BOX == x { to_x + BOX } else { *to_x };
        let second = if in_x == x { in_x + bend } else { in_x.saturating_sub(bend) };
        let _ = writeln!(
            page,
            "<path class=\"step {class}\" data-from=\"{}\" data-to=\"{to}\" d=\"M{x} {y} C{} {y} {second} {to_y} {in_x} {to_y}\"><title>{}</title></path>",
            edge.from,
            x + bend,
            HtmlText(&edge.step.to_string())
        );
    }
}

/// Returns true if these two nodes follow each other on the way of a leak.
fn leaks_by(proof: &LeakProof, from: usize, to: usize) -> bool {
    let (Some(from), Some(to)) = (proof.nodes.get(from), proof.nodes.get(to)) else { return false };
    let (from, to) = (from.shown(), to.shown());
    proof.leaks.iter().any(|leak| leak.path.windows(2).any(|pair| pair[0] == from && pair[1] == to))
}

/// Writes one box with its rows. `gone` holds the steps of leaves that end, for example at a drop.
fn draw(proof: &LeakProof, drawn: &ProofBox, gone: &BTreeMap<usize, &ProofStep>, page: &mut String) {
    // The frame and the name.
    let (x, y) = (10 + drawn.layer * LAYER, drawn.y);
    let class = if drawn.place.is_open() { "open" } else { "restricted" };
    let height = HEAD + drawn.leaves.len() * ROW;
    let _ = writeln!(
        page,
        "<g class=\"place {class}\"><rect x=\"{x}\" y=\"{y}\" width=\"{BOX}\" height=\"{height}\" rx=\"5\"/>\
         <text class=\"name\" x=\"{}\" y=\"{}\">{}<title>{} ({class})</title></text>",
        x + 8,
        y + 18,
        HtmlText(&short(&drawn.name, 46)),
        HtmlText(&drawn.name)
    );

    // A row for each leaf. Tags and classification are known only at raw topics.
    for (row, leaf) in drawn.leaves.iter().enumerate() {
        let Some(node) = proof.nodes.get(*leaf) else { continue };
        let row_y = y + HEAD + row * ROW;
        let mut labels = node.tags.clone();
        labels.extend((!node.classification.is_empty()).then(|| node.classification.clone()));
        labels.extend(gone.get(leaf).map(|step| step.to_string()));
        let _ = writeln!(
            page,
            "<g class=\"leaf\" data-node=\"{leaf}\" data-name=\"{} {}\"><rect x=\"{x}\" y=\"{row_y}\" width=\"{BOX}\" height=\"{ROW}\"/>\
             <text x=\"{}\" y=\"{}\">{}<title>{}</title></text><text class=\"tags\" x=\"{}\" y=\"{}\">{}</text></g>",
            HtmlText(&drawn.name),
            HtmlText(&node.leaf),
            x + 12,
            row_y + 14,
            HtmlText(&short(&node.leaf, 30)),
            HtmlText(&node.shown()),
            x + BOX - 8,
            row_y + 14,
            HtmlText(&labels.join(", "))
        );
    }
    page.push_str("</g>\n");
}

/// Returns the name, or the last `most` characters of it with an ellipsis. Names differ at their ends.
fn short(name: &str, most: usize) -> String {
    let length = name.chars().count();
    match length > most {
        true => format!("…{}", name.chars().skip(length + 1 - most).collect::<String>()),
        false => name.to_owned(),
    }
}
