// The settings dialog: parameters of the model (fixed while a conversation runs), sound and the rest (any time).

import { listDevices } from "../audio/sound.js";
import { cleanSeed, PARAMETERS, randomSeeds } from "../call/sampling.js";
import { byId, make, setText } from "./dom.js";
import { Film } from "./film.js";

const CHECKBOXES = ["echoCancellation", "noiseSuppression", "autoGainControl", "record", "film", "colours"];
const PROCESSING = ["echoCancellation", "noiseSuppression", "autoGainControl", "microphone"];

export class Settings {
  seeds = randomSeeds();
  #preferences;
  #changed;
  #sliders = new Map();

  /**
   * @param {import("./preferences.js").Preferences} preferences
   * @param {(what: "microphone" | "speaker" | "theme" | "colours" | "record" | "other") => void} changed
   */
  constructor(preferences, changed) {
    this.#preferences = preferences;
    this.#changed = changed;
    for (const parameter of PARAMETERS) this.#addSlider(parameter);
    this.#showSampling();
    this.#wireSeeds();
    this.#wireChoices();
    byId("reset-parameters").addEventListener("click", () => this.#reset());
    navigator.mediaDevices?.addEventListener?.("devicechange", () => this.refreshDevices());
    choiceOf("film").disabled = !Film.type();
  }

  /** What the next conversation asks for: the chosen parameters and the seeds. */
  get values() {
    return { ...this.#preferences.sampling.chosen, ...this.seeds };
  }

  /** @param {object} metadata of the server @param {Record<string, number>} asked what the conversation was asked for */
  noteInUse(metadata, asked) {
    this.#preferences.sampling.noteInUse(metadata, asked);
    this.#showSampling();
  }

  async open() {
    byId("settings").showModal();
    await this.refreshDevices();
  }

  /** @param {boolean} isRunning the model's parameters cannot change while it speaks */
  lockParameters(isRunning) {
    byId("parameters").disabled = isRunning;
    byId("parameters-locked").hidden = !isRunning;
  }

  async refreshDevices() {
    const { microphones, speakers } = await listDevices();
    this.#fill(choiceOf("microphone"), "microphone", microphones, "Microphone");
    this.#fill(choiceOf("speaker"), "speaker", speakers, "Speaker");
  }

  // --- the model

  #addSlider({ name, label, hint, min, max, step }) {
    const input = Object.assign(document.createElement("input"), { type: "range", id: name, min, max, step });
    const value = make("output", "", "slider-value");
    const title = make("label", label);
    title.htmlFor = input.id;
    value.htmlFor = input.id;
    const explanation = make("small", hint);
    explanation.id = `${name}-hint`;
    input.setAttribute("aria-describedby", explanation.id);
    byId("sliders").append(make("div", "", "slider", [title, value, input, explanation]));
    this.#sliders.set(name, { input, value });
    // Also a touch that moves nothing: whoever means the value that is shown has chosen it.
    for (const event of ["input", "pointerup"]) input.addEventListener(event, () => this.#choose(name, Number(input.value)));
  }

  #choose(name, value) {
    if (byId("parameters").disabled) return;
    this.#preferences.sampling.choose(name, value);
    this.#preferences.save();
    this.#showSampling();
  }

  #reset() {
    this.#preferences.sampling.reset();
    this.#preferences.save();
    this.#showSampling();
    this.seeds = randomSeeds();
    this.#showSeeds();
  }

  #showSampling() {
    const { sampling } = this.#preferences;
    for (const [name, { input, value }] of this.#sliders) {
      input.value = sampling.valueOf(name);
      input.setAttribute("aria-valuetext", sampling.describe(name));
      input.classList.toggle("is-own", !sampling.isChosen(name));
      setText(value, sampling.describe(name));
    }
  }

  #wireSeeds() {
    for (const name of ["text_seed", "audio_seed"]) {
      // Taken as it is typed: a dialog that closes lets the field go only with the next picture.
      byId(name).addEventListener("input", ({ target }) => {
        this.seeds[name] = cleanSeed(target.value, this.seeds[name]);
      });
      byId(name).addEventListener("change", () => this.#showSeeds());
    }
    this.#showSeeds();
  }

  #showSeeds() {
    for (const [name, seed] of Object.entries(this.seeds)) byId(name).value = seed;
  }

  // --- sound and the rest

  #wireChoices() {
    const { choices } = this.#preferences;
    for (const name of CHECKBOXES) choiceOf(name).checked = choices[name];
    choiceOf("theme").value = choices.theme;
    for (const name of [...CHECKBOXES, "microphone", "speaker", "theme"]) {
      choiceOf(name).addEventListener("change", ({ target }) => {
        choices[name] = target.type === "checkbox" ? target.checked : target.value;
        this.#preferences.save();
        this.#changed(PROCESSING.includes(name) ? "microphone" : name);
      });
    }
  }

  #fill(select, name, devices, noun) {
    const chosen = this.#preferences.choices[name];
    const options = [{ id: "", label: "System default" }, ...devices];
    select.replaceChildren(
      ...options.map(({ id, label }, index) => {
        const option = make("option", label || `${noun} ${index}`);
        option.value = id;
        return option;
      }),
    );
    select.value = devices.some(({ id }) => id === chosen) ? chosen : "";
  }
}

/** The control of a choice. */
function choiceOf(name) {
  return byId(`choice-${name}`);
}
