// SPDX-License-Identifier: GPL-2.0-or-later
// Serial consoles: a terminal for each, with a tab where there are several. A serial line knows no sizes: 80 by 24, unless -serial vc:COLSCxROWSC says another.
import xterm from '/xterm.js';

const COLORS = { background: '#111013', foreground: '#e7e3dc', cursor: '#fb923c', selection: '#fb923c55', black: '#26242a', brightBlack: '#6b6670', red: '#f87171',
    brightRed: '#fca5a5', green: '#4ade80', brightGreen: '#86efac', yellow: '#facc15', brightYellow: '#fde047', blue: '#60a5fa', brightBlue: '#93c5fd',
    magenta: '#e879f9', brightMagenta: '#f0abfc', cyan: '#22d3ee', brightCyan: '#67e8f9', white: '#d6d3d1', brightWhite: '#fafaf9' };

class Console {
    constructor(number, parent, [cols, rows]) {
        this.number = number;
        this.box = document.createElement('div');
        parent.append(this.box);
        this.terminal = new xterm.Terminal({ cols: cols || 80, rows: rows || 24, fontSize: 11, fontFamily: 'ui-monospace, "DejaVu Sans Mono", Menlo, monospace', scrollback: 5000,
            theme: COLORS, cursorBlink: true });
        this.terminal.open(this.box);
        this.terminal.on('data', (text) => this.send(text));
        this.connect();
    }

    connect() {
        const text = new TextDecoder();
        this.socket = new WebSocket(`${location.origin.replace('http', 'ws')}/console/${this.number}`, 'binary');
        this.socket.binaryType = 'arraybuffer';
        this.terminal.reset();                                      // the server sends again what it has
        this.socket.onmessage = (m) => this.terminal.write(text.decode(m.data, { stream: true }));
        this.socket.onclose = () => setTimeout(() => this.connect(), 2000);
    }

    send(text) {
        if (this.socket.readyState === WebSocket.OPEN) this.socket.send(new TextEncoder().encode(text));
    }
}

export class Consoles {
    constructor() {
        this.list = [];
        this.card = document.getElementById('console-card');
        this.box = document.getElementById('consoles');
        this.tabs = document.getElementById('tabs');
        const fold = document.getElementById('console-fold');
        fold.onclick = () => {
            const folded = this.box.classList.toggle('folded');
            fold.firstChild.textContent = folded ? 'Show' : 'Hide';
        };
    }

    // names: of the guest's serial ports; sizes: [columns, rows] of each, 0: not said.
    open(names, sizes) {
        if (this.list.length || !names.length) return;
        this.card.hidden = false;
        names.forEach((name, i) => {
            const tab = document.createElement('button');
            tab.textContent = name;
            tab.role = 'tab';
            tab.onclick = () => this.show(i);
            this.tabs.append(tab);
            this.list.push(new Console(i, this.box, sizes[i]));
        });
        this.tabs.hidden = names.length < 2;
        this.show(0);
    }

    show(n) {
        this.list.forEach((c, i) => {
            c.box.hidden = i !== n;
            this.tabs.children[i].setAttribute('aria-selected', i === n);
        });
        this.list[n].terminal.focus();
    }
}
