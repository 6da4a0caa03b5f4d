/// <reference lib="dom" />
/// <reference lib="dom.iterable" />

/** Attributes by name; those that are not set are left out, and functions listen to events. */
type Attributes = Readonly<Record<string, string | number | boolean | undefined | ((event: Event) => void)>>;

/** Makes an element. Text is only ever text: nothing of a snapshot is read as HTML. */
export function make<Name extends keyof HTMLElementTagNameMap>(
  name: Name,
  attributes: Attributes = {},
  ...children: readonly (Node | string)[]
): HTMLElementTagNameMap[Name] {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(key, value);
    else if (value !== undefined && value !== false) element.setAttribute(key, value === true ? "" : String(value));
  }
  element.append(...children);
  return element;
}

/** A choice of one of a few, as radio buttons that look like one piece. */
export function choice<Value extends string>(
  title: string,
  options: readonly (readonly [Value, string])[],
  chosen: Value,
  choose: (value: Value) => void,
): HTMLElement {
  const name = `choice-${title}`;
  return make(
    "fieldset",
    { class: "choice" },
    make("legend", {}, title),
    ...options.map(([value, text]) =>
      make(
        "label",
        {},
        make("input", { type: "radio", name, value, checked: value === chosen, change: () => choose(value) }),
        make("span", {}, text),
      )
    ),
  );
}

/** Calls a function once nothing has asked for it for a moment. */
export function later(call: () => void): () => void {
  let timer = 0;
  return () => {
    clearTimeout(timer);
    timer = setTimeout(call, 120) as unknown as number;
  };
}
