// Adds models from the hub or a folder, and lists the models kept in this browser.

import { useEffect, useRef, useState } from "preact/hooks";
import { errorText, megabytes } from "../../format";
import { addAddress, addFiles, keptModels, removeKeptModel, type KeptModel } from "../../storage/own-models";
import { requested, change, spec } from "../choices";
import { Field } from "./fields";
import { held, phase, problem, unfit } from "../run/state";

/** The dialog of models. */
export function ModelsDialog({ open, close }: { open: boolean; close(): void }) {
  const dialog = useRef<HTMLDialogElement>(null);
  useEffect(() => {
    if (open) dialog.current?.showModal();
    else dialog.current?.close();
  }, [open]);
  return (
    <>
      <dialog
        ref={dialog}
        class="run-page models"
        aria-labelledby="models-title"
        onClose={close}
        onClick={(e) => e.target === dialog.current && close()}
      >
        {open && (
          <div class="page">
            <header>
              <h2 id="models-title">Models</h2>
              <button type="button" class="quiet" onClick={close}>
                Close
              </button>
            </header>
            <AddressField close={close} />
            <FolderField close={close} />
            <KeptList />
          </div>
        )}
      </dialog>
    </>
  );
}

function AddressField({ close }: { close(): void }) {
  const [typed, setTyped] = useState("");
  const [wrong, setWrong] = useState("");
  const get = () => {
    try {
      take(addAddress(typed));
      close();
    } catch (error) {
      setWrong(errorText(error));
    }
  };
  return (
    <Field label="Repository on the Hugging Face hub, or address of a folder" for="model-address">
      <div class="beside">
        <input
          id="model-address"
          type="text"
          autocomplete="off"
          spellcheck={false}
          placeholder="ORG/REPO"
          value={typed}
          aria-invalid={wrong ? "true" : undefined}
          aria-describedby="model-address-says"
          onInput={(e) => setTyped(e.currentTarget.value)}
          onKeyDown={(e) => e.key === "Enter" && (e.preventDefault(), get())}
        />
        <button type="button" disabled={typed.trim() === ""} onClick={get}>
          Get
        </button>
      </div>
      <p id="model-address-says" class={wrong ? "hint bad" : "hint"}>
        {wrong || "It must contain config.json, tokenizer.json and safetensors. The download is kept in this browser."}
      </p>
    </Field>
  );
}

function FolderField({ close }: { close(): void }) {
  const picker = useRef<HTMLInputElement>(null);
  return (
    <div class="drop">
      <button type="button" onClick={() => picker.current?.click()}>
        Choose a folder…
      </button>
      <p class="hint">
        The same files on this machine; or drop the folder on the page. They are copied into this browser and never
        uploaded.
      </p>
      <input
        ref={picker}
        type="file"
        multiple
        {...{ webkitdirectory: true }} // missing in the types
        hidden
        data-testid="own-model"
        onChange={(e) => {
          const files = [...(e.currentTarget.files ?? [])];
          e.currentTarget.value = "";
          const folder = files[0]?.webkitRelativePath.split("/")[0] ?? "";
          // Files in subfolders do not belong to the model.
          takeModelFiles(
            files.filter((f) => f.webkitRelativePath.split("/").length <= 2),
            folder,
          );
          close();
        }}
      />
    </div>
  );
}

function KeptList() {
  const kept = keptModels.value;
  return (
    <section class="kept" aria-labelledby="kept-title">
      <h3 id="kept-title">Kept in this browser</h3>
      {kept.length === 0 && <p class="hint">None yet.</p>}
      <ul>
        {kept.map((model) => (
          <li key={model.name}>
            <span>
              {model.name} <span class="hint">{sizeOf(model)}</span>
            </span>
            <button
              type="button"
              aria-label={`Remove ${model.name}`}
              disabled={phase.value !== "idle" && spec.value.model === model.name}
              onClick={() => void removeKeptModel(model.name)}
            >
              Remove
            </button>
          </li>
        ))}
      </ul>
    </section>
  );
}

const sizeOf = ({ here, bytes, whole }: KeptModel) =>
  whole ? `${megabytes(here)} MB` : `${megabytes(here)} of ${megabytes(bytes)} MB`;

/** Adds a model from the user's files and chooses it. */
export function takeModelFiles(files: File[], folder: string): void {
  if (files.length > 0) take(addFiles(folder, files));
}

function take(name: string): void {
  requested.add(name);
  problem.value = unfit.value = "";
  chooseModel(name);
}

/** Chooses a model. */
export function chooseModel(name: string): void {
  held.value = "";
  change((s) => void (s.model = name));
}
