/**
 * Keeps an open page true: when a notification about it arrives, its changing parts are fetched and put in place.
 * The notification is the signal, the page's own HTML the content: nothing is built from what came over the socket.
 */

let isRunning = false;
let isAgain = false;

async function refresh() {
  if (isRunning) {
    isAgain = true;
    return;
  }
  isRunning = true;
  try {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (response.ok && !response.redirected) {
      const fresh = new DOMParser().parseFromString(await response.text(), "text/html");
      for (const part of document.querySelectorAll("[data-refresh]")) {
        const name = part.getAttribute("data-refresh") ?? "";
        const news = fresh.querySelector(`[data-refresh="${CSS.escape(name)}"]`);
        if (news && !part.contains(document.activeElement) && news.innerHTML !== part.innerHTML) part.replaceWith(news);
      }
    }
  } catch {
    // Offline: the next notification, or the reader's own reload, brings it.
  }
  isRunning = false;
  if (isAgain) {
    isAgain = false;
    refresh();
  }
}

function follow(items) {
  const isBoard = document.querySelector('[data-refresh="orders"]') !== null;
  const isMine = items.some((item) => item?.url && new URL(item.url, location.href).pathname === location.pathname);
  if (items.length && (isBoard || isMine)) refresh();
}

document.addEventListener("notifications:new", (event) => follow(event.detail?.items ?? [event.detail?.item ?? event.detail]));
document.addEventListener("notifications:changed", (event) => follow(event.detail.items.filter((item) => item.answer)));
