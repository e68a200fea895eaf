// SPDX-License-Identifier: GPL-2.0-or-later
// The guest's screen: noVNC on a websocket of this server. When the connection ends it is made again.
import RFB from '/novnc.js';

export class Screen {
    // on: { connected(), disconnected() }
    constructor(on) {
        this.on = on;
        this.fits = true;
        this.box = document.getElementById('screen');
        this.veil = document.getElementById('veil');
        this.over = false;
    }

    connect() {
        if (this.rfb || this.over) return;
        this.rfb = new RFB(this.box, `${location.origin.replace('http', 'ws')}/screen`, { shared: true, wsProtocols: ['binary'] });
        this.rfb.scaleViewport = this.rfb.resizeSession = this.fits;
        this.rfb.background = 'transparent';
        this.rfb.addEventListener('connect', () => {
            this.veil.hidden = true;
            this.rfb.focus();
            this.on.connected();
        });
        this.rfb.addEventListener('disconnect', () => {
            this.rfb = null;
            if (!this.over) this.say('connecting …');
            this.on.disconnected();
            setTimeout(() => this.connect(), 1000);
        });
    }

    canvas() { return this.box.querySelector('canvas'); }

    size() {
        const c = this.canvas();
        return c ? `${c.width} × ${c.height}` : '';
    }

    say(text) {
        this.veil.textContent = text;
        this.veil.hidden = false;
    }

    end(text) {
        this.over = true;
        this.say(text);
    }

    fit(on) {
        this.fits = on;
        if (this.rfb) this.rfb.scaleViewport = this.rfb.resizeSession = on;     // the latter asks the guest, which may say no
    }

    key(keysym) { if (this.rfb) this.rfb.sendKey(keysym, null); }
    ctrlAltDel() { if (this.rfb) { this.rfb.sendCtrlAltDel(); this.rfb.focus(); } }
    focus() { if (this.rfb) this.rfb.focus(); }

    // The picture as it is, pixel by pixel, whatever its size on the page.
    png() { return new Promise((done) => this.canvas() ? this.canvas().toBlob(done, 'image/png') : done(null)); }
}
