"use strict";
(() => {
  const graph = document.getElementById("graph");
  const leaves = [...graph.querySelectorAll(".leaf")];
  const steps = [...graph.querySelectorAll(".step")];
  const byNode = new Map(leaves.map((leaf) => [leaf.dataset.node, leaf]));
  const index = (from) => {
    const map = new Map();
    for (const step of steps) {
      const key = step.dataset[from];
      map.set(key, [...(map.get(key) || []), step]);
    }
    return map;
  };
  const after = index("from"), before = index("to");
  const follow = (start, map, end, lit) => {
    const open = [start], seen = new Set(open);
    while (open.length) {
      for (const step of map.get(open.pop()) || []) {
        lit.add(step);
        const node = step.dataset[end];
        if (!seen.has(node)) { seen.add(node); open.push(node); lit.add(byNode.get(node)); }
      }
    }
  };
  const show = (starts) => {
    const lit = new Set();
    for (const start of starts) {
      lit.add(byNode.get(start));
      follow(start, after, "to", lit);
      follow(start, before, "from", lit);
    }
    graph.classList.toggle("picking", starts.length > 0);
    for (const item of [...leaves, ...steps]) item.classList.toggle("lit", lit.has(item));
  };
  const find = document.getElementById("find");
  const search = () => {
    const words = find.value.trim().toLowerCase();
    show(words ? leaves.filter((leaf) => leaf.dataset.name.toLowerCase().includes(words)).map((leaf) => leaf.dataset.node) : []);
  };
  find.addEventListener("input", search);
  for (const leaf of leaves) {
    leaf.addEventListener("mouseenter", () => show([leaf.dataset.node]));
    leaf.addEventListener("mouseleave", search);
  }
})();
