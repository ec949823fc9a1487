// A turn of the conversation on the page: its text, what was measured, and what can be done with it.

import { MarkdownView } from "./markdown.js";
import { copyText, make } from "./make.js";
import { measureText } from "./stream.js";

/** One turn's element. `actions` are called with the turn: edit, again, version. */
export class TurnView {
  constructor(turn, versions, actions) {
    this.turn = turn;
    this.actions = actions;
    this.text = make("div", { class: turn.role === "assistant" ? "text prose" : "text" });
    this.note = make("p", { class: "measure soft" });
    this.tools = make("div", { class: "tools" });
    const name = turn.role === "user" ? "You" : (turn.model ?? "Model");
    this.element = make("article", { class: `turn ${turn.role}`, "data-turn": turn.id },
      make("h2", { class: turn.role === "user" ? "hidden" : "name" }, name), this.text, make("div", { class: "foot" }, this.note, this.tools));
    this.markdown = turn.role === "assistant" ? new MarkdownView(this.text) : null;
    this.element.addEventListener("click", (event) => this.clicked(event));
    this.show(turn.content);
    this.showMeasure(turn.measure);
    this.showTools(versions);
  }

  /** What a user wrote stands as it was written; what a model wrote is Markdown. */
  show(content) {
    if (this.markdown) this.markdown.show(content);
    else this.text.textContent = content;
  }

  showMeasure(measure) {
    this.note.textContent = measure ? measureText(measure) : "";
  }

  /** While the answer grows there are no tools. */
  setLive(isLive) {
    this.element.classList.toggle("live", isLive);
    this.element.setAttribute("aria-busy", String(isLive));
    this.tools.hidden = isLive;
  }

  showTools(versions) {
    const tool = (name, label) => make("button", { type: "button", class: "plain", "data-tool": name }, label);
    const tools = [tool("copy", "Copy"), this.turn.role === "user" ? tool("edit", "Edit") : tool("again", "Try again")];
    if (versions.length > 1) {
      const place = versions.indexOf(this.turn);
      const step = (by, label, sign) => {
        const button = make("button", { type: "button", class: "plain step", "data-tool": by, "aria-label": label }, sign);
        button.disabled = versions[place + Number(by)] === undefined;
        return button;
      };
      const counter = make("span", { class: "soft" }, `${place + 1} of ${versions.length}`);
      tools.unshift(make("span", { class: "versions" }, step("-1", "Version before", "‹"), counter, step("+1", "Version after", "›")));
      this.versions = versions;
    }
    this.tools.replaceChildren(...tools);
  }

  clicked(event) {
    const code = event.target.closest("[data-copy]");
    if (code) {
      const block = code.closest(".code").querySelector("pre > code");
      copyText(code, block.textContent, block);
      return;
    }
    const tool = event.target.closest("[data-tool]");
    if (!tool) return;
    const name = tool.dataset.tool;
    if (name === "copy") copyText(tool, this.turn.content, this.text);
    else if (name === "edit") this.edit();
    else if (name === "again") this.actions.again(this.turn);
    else this.actions.version(this.versions[this.versions.indexOf(this.turn) + Number(name)], Number(name));
  }

  /** Turns the text into a field; sending it makes another version of the turn. */
  edit() {
    if (this.element.querySelector("form")) return;
    const field = make("textarea", { rows: "1", "aria-label": "Edit your message" });
    field.value = this.turn.content;
    const cancel = make("button", { type: "button", class: "quiet" }, "Cancel");
    const form = make("form", { class: "edit" }, field, make("div", { class: "buttons" }, cancel, make("button", { type: "submit", class: "filled" }, "Send")));
    const foot = this.element.querySelector(".foot");
    const close = () => { form.remove(); this.text.hidden = foot.hidden = false; };
    const send = () => {
      const content = field.value.trim();
      if (!content || !this.actions.isFree()) return;
      close();
      if (content === this.turn.content) this.actions.again(null, this.turn);
      else this.actions.edited(this.turn, content);
    };
    this.text.hidden = foot.hidden = true;
    this.text.after(form);
    cancel.addEventListener("click", () => { close(); this.tools.querySelector("[data-tool=edit]").focus(); });
    form.addEventListener("submit", (event) => { event.preventDefault(); send(); });
    field.addEventListener("input", () => fit(field));
    field.addEventListener("keydown", (event) => {
      if (isSendKey(event)) { event.preventDefault(); send(); }
      if (event.key === "Escape") { event.stopPropagation(); cancel.click(); }
    });
    fit(field);
    field.focus();
    field.setSelectionRange(field.value.length, field.value.length);
  }
}

/** Enter alone, and not the one that ends the input of an ideograph. */
export function isSendKey(event) {
  return event.key === "Enter" && !event.shiftKey && !event.isComposing;
}

/** Makes a field as high as its text. */
export function fit(field) {
  field.style.height = "auto";
  field.style.height = `${field.scrollHeight + 2}px`;
}
