"use strict";

// The session is in cookies that no script can read. What a script must do: repeat
// the CSRF cookie in a header, and ask for new cookies when the access cookie has
// expired.

const find = (id) => document.getElementById(id);

// cookie returns the value of the first of these cookies that is there.
function cookie(...names) {
  for (const name of names) {
    const found = document.cookie.split("; ").find((c) => c.startsWith(name + "="));
    if (found) return found.slice(name.length + 1);
  }
  return "";
}

// csrfToken is read anew for each request: another tab may have changed it. The
// cookie goes when the browser closes; then authd gives another.
async function csrfToken() {
  const have = cookie("__Host-auth_csrf", "auth_csrf");
  if (have) return have;
  return (await read(await fetch("/_auth/csrf"))).csrf_token;
}

async function send(method, path, body, more) {
  const headers = { ...more };
  if (method !== "GET") headers["X-CSRF-Token"] = await csrfToken();
  if (path.startsWith("/_auth/")) headers["X-Auth-Session-Transport"] = "cookie";
  if (body) headers["Content-Type"] = "application/json";
  return read(await fetch(path, { method, headers, body: body && JSON.stringify(body) }));
}

// read returns what an answer says. A proxy's own refusal has no JSON.
async function read(answer) {
  if (answer.ok) return answer.status === 204 ? null : answer.json();
  const said = await answer.json().catch(() => ({}));
  const wrong = (said.errors || []).map((e) => `${e.field} ${e.message}`).join(", ");
  const wait = Number(answer.headers.get("Retry-After"));
  const error = new Error([
    wrong || said.detail || "Please try again in a moment.",
    wait && `Try again in ${wait > 90 ? `${Math.ceil(wait / 60)} minutes` : `${wait} seconds`}.`,
  ].filter(Boolean).join(" "));
  error.status = answer.status;
  error.code = said.code;
  error.action = answer.headers.get("X-OTP-Action"); // what a code must confirm
  throw error;
}

// isStale tells that the access token is missing or has expired. Nothing was done.
const isStale = (error) => error.code === "invalid_token" || error.code === "token_expired";

// call is for what needs the access cookie. It asks for new cookies if need be.
async function call(...request) {
  try {
    return await send(...request);
  } catch (error) {
    if (!isStale(error)) throw error;
  }
  return oneByOne(async () => {
    try {
      return await send(...request); // another tab may have refreshed while we waited
    } catch (error) {
      if (!isStale(error)) throw error;
    }
    await send("POST", "/_auth/token");
    return send(...request);
  });
}

// oneByOne does one thing at a time in all tabs. Browsers without locks do so in
// each tab; authd tolerates tabs that refresh at the same time.
let last = Promise.resolve();
function oneByOne(act) {
  if (navigator.locks) return navigator.locks.request("refresh", act);
  last = last.catch(() => {}).then(act);
  return last;
}

function show(id) {
  for (const part of ["sign-in", "code", "account"]) find(part).hidden = part !== id;
}

async function showOrders() {
  const { email, orders } = await call("GET", "/api/orders");
  find("email").textContent = email;
  find("orders").replaceChildren(
    ...orders.map((order) => {
      const line = document.createElement("li");
      line.textContent = `${order.item}, ${(order.cents / 100).toFixed(2)} `;
      const button = document.createElement("button");
      button.textContent = "Cancel";
      button.addEventListener("click", () => attempt(() => cancel(order.id)));
      line.append(button);
      return line;
    }),
  );
  show("account");
}

async function signIn(email, password) {
  const answer = await send("POST", "/_auth/login", { email, password, audience: "orders-api" });
  if (!answer.otp_required) return showOrders();
  askForCode(answer.masked_email, "sign-in", (code) =>
    send("POST", "/_auth/otp/verify/login", { challenge_token: answer.challenge_token, code }),
  );
}

async function signOut() {
  await send("POST", "/_auth/logout");
  show("sign-in");
}

// cancel is an act that the user must confirm with a mailed code, for this order
// and no other. The service says so, and which action that is.
async function cancel(order) {
  const path = "/api/orders/" + encodeURIComponent(order);
  let action;
  try {
    await call("DELETE", path);
    return showOrders();
  } catch (error) {
    if (error.code !== "otp_required") throw error;
    action = error.action;
  }
  await call("POST", "/_auth/otp/request/action", { action, target: order });
  askForCode(find("email").textContent, "account", async (code) => {
    const { action_token } = await call("POST", "/_auth/otp/verify/action", { code, action });
    await call("DELETE", path, null, { "X-Action-Token": action_token });
  });
}

// enter is what the code is for; back is where to go if no code will do any more.
let enter, back;
function askForCode(mailbox, wayBack, act) {
  [enter, back] = [act, wayBack];
  find("mailbox").textContent = mailbox;
  show("code");
}

async function enterCode(code) {
  try {
    await enter(code);
  } catch (error) {
    if (error.status && error.status < 500 && error.code !== "invalid_otp") show(back);
    throw error;
  }
  await showOrders();
}

// isOver tells that the session has ended, which no outage means.
const isOver = (error) => isStale(error) || error.code === "session_expired";

// attempt does something and shows what went wrong.
async function attempt(act) {
  find("message").textContent = "";
  try {
    await act();
  } catch (error) {
    if (isOver(error)) show("sign-in");
    find("message").textContent = error.status ? error.message : "The server cannot be reached. Please try again.";
  }
}

function onSubmit(id, act) {
  find(id).addEventListener("submit", (event) => {
    event.preventDefault();
    const fields = Object.fromEntries(new FormData(event.target));
    event.target.reset();
    attempt(() => act(fields));
  });
}

onSubmit("sign-in", ({ email, password }) => signIn(email, password));
onSubmit("code", ({ code }) => enterCode(code));
onSubmit("order", async ({ item }) => {
  await call("POST", "/api/orders", { item });
  await showOrders();
});
find("sign-out").addEventListener("click", () => attempt(signOut));

// Whoever has a session stays signed in; everybody else is asked.
attempt(() =>
  showOrders().catch((error) => {
    if (!isOver(error)) throw error;
    show("sign-in");
  }),
);
