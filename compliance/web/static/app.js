// Everything works without this. It offers passkeys where the browser has them, and asks before
// what cannot be undone, and prints. It writes no markup, so Trusted Types have nothing to refuse.

const decode = (text) =>
  Uint8Array.from(atob(text.replace(/-/g, "+").replace(/_/g, "/")), (c) => c.charCodeAt(0));
const encode = (data) =>
  btoa(String.fromCharCode(...new Uint8Array(data)))
    .replace(/\+/g, "-")
    .replace(/\//g, "_")
    .replace(/=+$/, "");
const ids = (list) => (list ?? []).map((item) => ({ ...item, id: decode(item.id) }));

async function ask(form) {
  const answer = await fetch(form.dataset.options, {
    method: "POST",
    headers: { Accept: "application/json" },
    body: new URLSearchParams(new FormData(form)),
  });
  if (!answer.ok || answer.redirected) throw new Error(`options: ${answer.status}`);
  const options = await answer.json();
  options.challenge = decode(options.challenge);
  options.allowCredentials = ids(options.allowCredentials);
  options.excludeCredentials = ids(options.excludeCredentials);
  if (options.user) options.user.id = decode(options.user.id);
  return options;
}

function written(credential) {
  const response = { clientDataJSON: encode(credential.response.clientDataJSON) };
  for (const name of ["attestationObject", "authenticatorData", "signature", "userHandle"]) {
    if (credential.response[name]) response[name] = encode(credential.response[name]);
  }
  return JSON.stringify({
    id: credential.id,
    rawId: encode(credential.rawId),
    type: credential.type,
    response,
  });
}

async function passkey(form) {
  const publicKey = await ask(form);
  const made = form.dataset.passkey === "create";
  const credential = made
    ? await navigator.credentials.create({ publicKey })
    : await navigator.credentials.get({ publicKey });
  form.elements.credential.value = written(credential);
  form.submit();
}

if (window.PublicKeyCredential) {
  for (const form of document.querySelectorAll("form[data-passkey]")) {
    const trouble = form.querySelector("[data-trouble]");
    form.hidden = false;
    for (const part of document.querySelectorAll("[data-with-passkey]")) part.hidden = false;
    form.addEventListener("submit", async (event) => {
      event.preventDefault();
      const button = form.querySelector("button");
      button.disabled = true;
      trouble.hidden = true;
      try {
        await passkey(form);
      } catch {
        trouble.hidden = false;
      } finally {
        button.disabled = false;
      }
    });
  }
}
for (const part of document.querySelectorAll("[data-no-passkey]")) {
  part.hidden = Boolean(window.PublicKeyCredential);
}
for (const button of document.querySelectorAll("[data-print]")) {
  button.hidden = false;
  button.addEventListener("click", () => window.print());
}
for (const form of document.querySelectorAll("form[data-ask]")) {
  form.addEventListener("submit", (event) => {
    if (!window.confirm(form.dataset.ask)) event.preventDefault();
  });
}
