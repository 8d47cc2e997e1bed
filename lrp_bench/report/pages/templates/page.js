"use strict";

// Tables: a click, or Enter, on a header sorts by it. What is not a number stays last.
function number(cell) {
  const text = cell.dataset.value;
  return text === undefined || text === "" ? NaN : Number(text);
}

function compare(a, b, column, sign) {
  const [one, other] = [a.cells[column], b.cells[column]];
  const [x, y] = [number(one), number(other)];
  if (!Number.isNaN(x) && !Number.isNaN(y)) return sign * (x - y);
  if (Number.isNaN(x) !== Number.isNaN(y)) return Number.isNaN(x) ? 1 : -1;
  return sign * one.textContent.trim().localeCompare(other.textContent.trim(), undefined, { numeric: true });
}

function sort(table, header) {
  const up = header.getAttribute("aria-sort") === "none" ? header.dataset.first !== "descending" : header.getAttribute("aria-sort") !== "ascending";
  for (const each of table.tHead.rows[0].cells) each.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", up ? "ascending" : "descending");
  const body = table.tBodies[0];
  body.append(...[...body.rows].sort((a, b) => compare(a, b, header.cellIndex, up ? 1 : -1)));
}

for (const table of document.querySelectorAll("table.sortable")) {
  for (const header of table.tHead.rows[0].cells) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...header.childNodes);
    button.addEventListener("click", () => sort(table, header));
    header.append(button);
    header.setAttribute("aria-sort", "none");
  }
}

// Samples: one at a time, chosen by list, buttons or thumbnail.
function browse(gallery) {
  const samples = [...gallery.querySelectorAll(".sample")];
  const select = gallery.querySelector("select");
  const thumbs = gallery.querySelector(".thumbs");
  const choose = (place) => {
    const index = (place + samples.length) % samples.length;
    samples.forEach((sample, at) => sample.classList.toggle("chosen", at === index));
    [...thumbs.children].forEach((thumb, at) => thumb.setAttribute("aria-current", String(at === index)));
    select.selectedIndex = index;
  };
  samples.forEach((sample, at) => {
    const picture = sample.querySelector(".input img");
    if (!picture) return;
    const thumb = document.createElement("button");
    thumb.type = "button";
    thumb.title = select.options[at].textContent.trim();
    thumb.append(picture.cloneNode());
    thumb.addEventListener("click", () => choose(at));
    thumbs.append(thumb);
  });
  select.addEventListener("change", () => choose(select.selectedIndex));
  gallery.querySelector(".previous").addEventListener("click", () => choose(select.selectedIndex - 1));
  gallery.querySelector(".next").addEventListener("click", () => choose(select.selectedIndex + 1));
  gallery.querySelector(".scales").addEventListener("change", (event) => {
    gallery.classList.toggle("together", event.target.checked);
  });
  const named = samples.findIndex((sample) => `#${sample.id}` === location.hash);
  gallery.classList.add("live");
  choose(Math.max(named, 0));
}

document.querySelectorAll(".gallery").forEach(browse);
