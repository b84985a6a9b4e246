"use strict";
(() => {
  const find = document.getElementById("find");
  const count = document.getElementById("count");
  const rows = [...document.querySelectorAll("#topics tbody tr")];
  const words = rows.map((row) => row.dataset.words.toLowerCase());
  const search = () => {
    const wanted = find.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    rows.forEach((row, place) => {
      row.hidden = !wanted.every((word) => words[place].includes(word));
      shown += row.hidden ? 0 : 1;
    });
    count.textContent = wanted.length ? `${shown} of ${rows.length}` : "";
  };
  find.addEventListener("input", search);
  search();
})();
