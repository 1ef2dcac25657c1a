// What an operator can have done from the page: end a connection or a tunnel, reload, drain. Nothing
// is done without a question in between, and the server refuses what it may not do anyway.
"use strict";

const operator = {
  instance: null, // of the server that the page shows: after a restart its numbers mean others
  allowed: false,
  drains: true,
  connected: "", // at the moment, in a sentence

  // Find out whether something may be done, and on which server.
  async learn() {
    const { instance, actions } = await ask("api/v1/server");
    this.instance = instance;
    this.allowed = actions.allowed;
    for (const id of ["reload", "drain"]) $(id).title = actions.reason;
    this.show();
  },

  // The server stands there.
  showCondition(condition) {
    this.drains = condition !== "ready";
    this.show();
  },

  show() {
    $("reload").disabled = !this.allowed;
    $("drain").disabled = !this.allowed || this.drains;
  },

  // Have it done; an error says why it was not.
  async send(path, instance) {
    const answer = await fetch(new URL(path, HERE), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify({ instance }),
      signal: AbortSignal.timeout(PATIENCE),
    });
    const told = await answer.json().catch(() => ({}));
    if (!answer.ok) throw new Error(told.detail ?? `${answer.status} ${answer.statusText}`);
    return told;
  },

  // Ask, and have it done if the person says so. `done` and `wrong` get what the server answers, and
  // return what to announce, or what is wrong all the same; that is shown where the question is.
  confirm({ title, words, verb, path, done, wrong = () => "" }) {
    const dialog = $("action-dialog");
    const instance = this.instance;
    setText($("action-title"), title);
    setText($("action-text"), words);
    setText($("action-yes"), verb);
    setText($("action-trouble"), "");
    $("action-yes").disabled = false;
    $("action-yes").onclick = async () => {
      $("action-yes").disabled = true;
      try {
        const answer = await this.send(path, instance);
        const trouble = wrong(answer);
        setText($("action-trouble"), trouble);
        if (trouble) return;
        setText($("announce"), done(answer));
        dialog.close();
      } catch (error) {
        setText($("action-trouble"), `Nothing was done: ${error.message}`);
      }
    };
    dialog.showModal();
  },

  prepare() {
    $("action-no").addEventListener("click", () => $("action-dialog").close());
    $("reload").addEventListener("click", () => this.confirm({
      title: "Reload the configuration?",
      words: "The file and all that it names is read anew. Tunnels stay up, but of denied addresses. What is wrong "
        + "stays as it was, and the log says what that is.",
      verb: "Reload",
      path: "api/v1/reload",
      done: () => "Everything was read anew.",
      wrong: ({ mistakes }) => (mistakes
        ? `Not everything was read anew: the log names ${mistakes === 1 ? "a mistake" : `${mistakes} mistakes`}.`
        : ""),
    }));
    $("drain").addEventListener("click", () => this.confirm({
      title: "Drain this server?",
      words: `It stops listening at once. Tunnels that are up live on until they end or the drain time
        is over, and then the process exits. There is no way back from here. ${this.connected}`,
      verb: "Drain",
      path: "api/v1/drain",
      done: () => {
        this.showCondition("draining");
        return "The server drains.";
      },
    }));
  },
};

// What one end is called, in a sentence.
function called(end) {
  return plain(end.name || end.address || end.uuid || `connection ${end.number}`);
}

// A button that ends what a row of a list shows; nothing where that may not be done.
function endButton(kind, number, label, words) {
  if (!operator.allowed || !number) return "";
  const path = `api/v1/${kind}/${number}/end`;
  const button = make("button", {
    type: "button", class: "button small danger", "data-end": path, "aria-label": `End ${label}`,
  }, "End…");
  button.addEventListener("click", () => operator.confirm({
    title: `End ${label}?`, words, verb: "End it", path, done: () => `${label} is being ended.`,
  }));
  return button;
}

function endTunnelButton(row) {
  const [one, other] = row.ends.map(called);
  return endButton("tunnels", row.ends.find((end) => end.number)?.number, `the tunnel of ${one}`,
    `Both clients, ${one} and ${other ?? "one that is gone already"}, are told that the operator has ended it. `
    + "They may come again.");
}

function endServerButton(row) {
  const name = called(row.ends[0]);
  return endButton("connections", row.number, `the server ${name}`,
    `Its clients go with it, ${count.format(row.clients)} at the moment. All may come again.`);
}

function endClientButton(end) {
  const name = called(end);
  return endButton("connections", end.number, `the client ${name}`,
    "It is told that the operator has ended it, and its server that it is gone. It may come again.");
}

addEventListener("DOMContentLoaded", () => operator.prepare());
