// Numbers, times and texts as people read them, and the nodes they stand in. Knows nothing of the server.
"use strict";

const HOUR = 3600; // s
const DAY = 24 * HOUR;
const YEAR = 365.25 * DAY;

const $ = (id) => document.getElementById(id);

function make(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

function draw(name, attributes = {}, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text) made.textContent = text;
  return made;
}

function setText(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

// Control characters would vanish or turn the text around them; they are shown as what they are.
const UNSEEN = /[\u0000-\u001f\u007f-\u009f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff]/g;
const plain = (text) => text.replace(UNSEEN, "\ufffd");

const count = new Intl.NumberFormat("en");

// A number with its noun, such as "1 tunnel" or "2 tunnels".
const counted = (number, thing) => `${count.format(number)} ${thing}${number === 1 ? "" : "s"}`;

const PREFIXES = ["", "k", "M", "G", "T", "P"];

function scaled(value, unit) {
  let step = 0;
  while (value >= 999.5 && step < PREFIXES.length - 1) {
    value /= 1000;
    step += 1;
  }
  const digits = value >= 99.5 || step === 0 ? 0 : value >= 9.95 ? 1 : 2;
  return `${value.toFixed(digits)} ${PREFIXES[step]}${unit}`;
}

const bytes = (value) => scaled(value, "B");
const speed = (value) => scaled(value, "B/s");

function lasting(seconds) {
  const [d, h, m, s] = [
    Math.floor(seconds / DAY), Math.floor(seconds / HOUR) % 24,
    Math.floor(seconds / 60) % 60, Math.floor(seconds) % 60,
  ];
  if (d) return `${d} d ${h} h`;
  if (h) return `${h} h ${m} min`;
  return m ? `${m} min ${s} s` : `${s} s`;
}

function clock(time, withSeconds = false) {
  const options = { hour: "2-digit", minute: "2-digit", hourCycle: "h23" };
  if (withSeconds) options.second = "2-digit";
  return new Date(time * 1000).toLocaleTimeString("en-GB", options);
}

function day(time, withYear = false) {
  const options = { day: "numeric", month: "short" };
  if (withYear) options.year = "numeric";
  return new Date(time * 1000).toLocaleDateString("en-GB", options);
}

// A time that may be on another day than `now`.
function moment(time, now, withSeconds = false) {
  const date = day(time, true) === day(now, true) ? "" : `${day(time)}, `;
  return date + clock(time, withSeconds);
}
