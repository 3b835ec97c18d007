// The document as a page: all text goes in as text, never as markup.
"use strict";

const make = (tag, text, ...children) => {
  const element = document.createElement(tag);
  if (text) element.textContent = text;
  element.append(...children);
  return element;
};

const follow = (root, part) =>
  part && part.$ref
    ? part.$ref.slice(2).split("/").reduce((at, key) => at[key], root)
    : part;

const table = (heads, rows) => {
  const head = make("tr");
  head.append(...heads.map((text) => make("th", text)));
  const all = make("table", "", head);
  for (const row of rows) {
    const line = make("tr");
    line.append(...row.map((cell) => (cell instanceof Node ? make("td", "", cell) : make("td", cell))));
    all.append(line);
  }
  return all;
};

const schemaOf = (content) => {
  const [kind, body] = Object.entries(content ?? {})[0] ?? [];
  if (!kind) return "";
  const name = body.schema?.$ref?.split("/").pop();
  return name ? `${kind}: ${name}` : kind;
};

const operation = (root, method, path, described) => {
  const box = make("details");
  const line = make("summary", "", make("span", method), make("code", path), make("span", ` ${described.summary}`));
  line.firstChild.className = "method";
  box.append(line);
  box.dataset.words = `${method} ${path} ${described.summary}`.toLowerCase();
  if (described.parameters.length) {
    const rows = described.parameters.map((one) => follow(root, one)).map((one) => [
      make("code", one.name),
      one.in + (one.required ? ", required" : ""),
      one.description ?? "",
    ]);
    box.append(make("h3", "Parameters"), table(["name", "where", "what"], rows));
  }
  const sent = Object.entries(described.requestBody?.content ?? {})[0];
  if (sent) {
    const example = sent[1].example;
    const text = typeof example === "string" ? example : JSON.stringify(example, null, 2);
    box.append(make("h3", `Body: ${schemaOf(described.requestBody.content)}`), make("pre", text));
  }
  const rows = Object.entries(described.responses).map(([status, one]) => [status, one.description, schemaOf(one.content)]);
  box.append(make("h3", "Answers"), table(["status", "when", "what"], rows));
  return box;
};

const show = (root) => {
  const main = document.getElementById("all");
  const tags = new Map();
  for (const [path, methods] of Object.entries(root.paths))
    for (const [method, described] of Object.entries(methods)) {
      const tag = described.tags[0];
      if (!tags.has(tag)) tags.set(tag, make("section", "", make("h2", tag)));
      tags.get(tag).append(operation(root, method, path, described));
    }
  const schemas = make("section", "", make("h2", "schemas"));
  for (const [name, schema] of Object.entries(root.components.schemas)) {
    const box = make("details", "", make("summary", name), make("pre", JSON.stringify(schema, null, 2)));
    box.dataset.words = name.toLowerCase();
    schemas.append(box);
  }
  main.replaceChildren(...tags.values(), schemas);
  document.getElementById("find").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    for (const box of main.querySelectorAll("details")) box.hidden = !box.dataset.words.includes(wanted);
  });
};

fetch("/api/openapi.json")
  .then((answer) => answer.json())
  .then(show)
  .catch((error) => document.getElementById("all").replaceChildren(make("p", `The document cannot be read: ${error}`)));
