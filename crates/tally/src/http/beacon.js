// Tally's beacon: counts what happens in a page, also while it is being left.
//   <script src="https://tally.example/beacon.js" data-key="tk_…" data-item="page-1"></script>
//   tally("page-1", "like", {value: 5, attributes: {country: "DE"}})
(function () {
  var script = document.currentScript, data = script.dataset, queue = [], timer;
  var url = new URL("v1/events", script.src).href + "?key=" + encodeURIComponent(data.key || "");
  function id() {
    if (crypto.randomUUID) return crypto.randomUUID();
    return Array.from(crypto.getRandomValues(new Uint8Array(16)), function (byte) {
      return (byte + 256).toString(16).slice(1);
    }).join("");
  }
  function post(body) {
    if (navigator.sendBeacon && navigator.sendBeacon(url, body)) return;
    fetch(url, {method: "POST", body: body, keepalive: true, credentials: "omit"}).catch(function () {});
  }
  function flush() {
    clearTimeout(timer);
    timer = 0;
    // A browser takes 64 KiB at a time from a page that is being left.
    while (queue.length) post(queue.splice(0, 50).join("\n"));
  }
  window.tally = function (item, type, more) {
    var event = Object.assign({}, more, {id: id(), item: String(item), type: type || "view"});
    queue.push(JSON.stringify(event));
    if (queue.length > 49) flush();
    else if (!timer) timer = setTimeout(flush, 2000);
  };
  addEventListener("visibilitychange", function () {
    if (document.visibilityState === "hidden") flush();
  });
  addEventListener("pagehide", flush);
  if (data.item) tally(data.item, data.type);
})();
