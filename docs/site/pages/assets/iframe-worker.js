/* SPDX-License-Identifier: Apache-2.0 */
/* A browser starts no worker for a page that was opened as a file. There, the search runs in a hidden frame instead. */
if (location.protocol === "file:") {
  window.Worker = class extends EventTarget {
    constructor(url) {
      super()
      this.waiting = []
      this.frame = document.createElement("iframe")
      this.frame.hidden = true
      window.addEventListener("message", event => {
        if (event.source !== this.frame.contentWindow) return
        const message = new MessageEvent("message", { data: event.data })
        this.dispatchEvent(message)
        if (this.onmessage) this.onmessage(message)
      })
      this.frame.addEventListener("load", () => {
        if (this.ready) return
        this.ready = true
        for (const data of this.waiting.splice(0)) this.postMessage(data)
      })
      const begin =
        "<script>" +
        "window.postMessage = data => parent.postMessage(data, '*');" +
        "window.importScripts = (...urls) => { for (const url of urls) document.write('<script src=\"' + url + '\"><\\/script>') };" +
        "<\/script>"
      this.frame.srcdoc = begin + `<script src="${new URL(url, location.href)}"><\/script>`
      const add = () => document.body.append(this.frame)
      document.body ? add() : addEventListener("DOMContentLoaded", add)
    }
    postMessage(data) {
      if (!this.ready) this.waiting.push(data)
      else this.frame.contentWindow.dispatchEvent(new MessageEvent("message", { data, source: window }))
    }
    terminate() {
      this.frame.remove()
    }
  }
}
