// SPDX-License-Identifier: GPL-2.0-or-later
// Small charts of the last two minutes: one or two lines over filled areas, drawn as SVG. Rates come from counters, so a missed
// second is no gap.
const SAMPLES = 120, WIDTH = 240, HEIGHT = 52, NS = 'http://www.w3.org/2000/svg';

export function bytes(n) {
    const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB'];
    let u = 0;
    while (n >= 1024 && u < units.length - 1) { n /= 1024; u++; }
    return `${n < 10 && u ? n.toFixed(1) : Math.round(n)} ${units[u]}`;
}

export function count(n) {
    const units = ['', ' k', ' M', ' G'];
    let u = 0;
    while (n >= 1000 && u < units.length - 1) { n /= 1000; u++; }
    return `${n < 10 && u ? n.toFixed(1) : Math.round(n)}${units[u]}`;
}

function element(name, attributes) {
    const e = document.createElementNS(NS, name);
    for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
    return e;
}

class Chart {
    // least: the scale does not get smaller than this.
    constructor(card, lines, least) {
        this.card = card;
        this.least = least;
        this.series = Array.from({ length: lines }, () => []);
        this.svg = element('svg', { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: 'none', role: 'img' });
        for (const y of [0.5, HEIGHT / 2, HEIGHT - 0.5]) this.svg.append(element('line', { class: 'grid', x1: 0, x2: WIDTH, y1: y, y2: y }));
        this.paths = this.series.map((_, i) => {
            const name = i ? 'two' : 'one', pair = [element('path', { class: `${name} area` }), element('path', { class: name })];
            this.svg.append(...pair);
            return pair;
        });
        card.querySelector('.chart').append(this.svg);
    }

    add(...values) {
        this.series.forEach((s, i) => {
            s.push(Math.max(0, values[i]));
            if (s.length > SAMPLES) s.shift();
        });
        const top = Math.max(this.least, ...this.series.flat()) * 1.05;
        this.series.forEach((s, i) => {
            const points = s.map((v, n) => `${((SAMPLES - s.length + n) * WIDTH / (SAMPLES - 1)).toFixed(1)},${(HEIGHT - v / top * HEIGHT).toFixed(1)}`);
            const line = 'M' + points.join('L');
            this.paths[i][1].setAttribute('d', line);
            this.paths[i][0].setAttribute('d', `${line}L${WIDTH},${HEIGHT}L${points[0].split(',')[0]},${HEIGHT}Z`);
        });
    }

    say(value, note) {
        this.card.querySelector('output').textContent = value;
        this.card.querySelector('.note').innerHTML = note;         // made here, of numbers
        this.svg.setAttribute('aria-label', value);
    }
}

const one = '<span class="key one"></span>', two = '<span class="key two"></span>';

export class Figures {
    constructor() {
        const chart = (name, lines, least) => new Chart(document.querySelector(`[data-chart=${name}]`), lines, least);
        this.cpu = chart('cpu', 2, 100);
        this.exits = chart('exits', 1, 100);
        this.memory = chart('memory', 1, 1);
        this.disk = chart('disk', 2, 64 << 10);
        this.net = chart('net', 2, 8 << 10);
        this.before = null;
    }

    // f: what /figures said.
    update(f) {
        const b = this.before;
        this.before = f;
        for (const name of ['disk', 'net']) document.querySelector(`[data-chart=${name}]`).hidden = f[name === 'disk' ? 'disk_read_bytes' : 'net_sent_bytes'] === undefined;
        if (!b || f.now_ns <= b.now_ns) return;
        const seconds = (f.now_ns - b.now_ns) / 1e9, rate = (key) => (f[key] - b[key]) / seconds;
        const all = rate('cpu_ns') / 1e7, guest = Math.min(rate('guest_cpu_ns') / 1e7, all);
        this.cpu.add(all, guest);
        this.cpu.say(`${Math.round(all)} %`, `${two}guest ${Math.round(guest)} %, all of ${f.cpus} CPU${f.cpus > 1 ? 's' : ''}`.replace('key two"', 'key two" style="margin-left:0"'));
        this.exits.add(rate('exits'));
        this.exits.say(`${count(rate('exits'))}/s`, `${count(f.exits)} since the start`);
        this.memory.least = f.ram_bytes;
        this.memory.add(f.resident_bytes);
        this.memory.say(bytes(f.resident_bytes), `used on the host; the guest has ${bytes(f.ram_bytes)}`);
        if (f.disk_read_bytes !== undefined) this.pair(this.disk, rate('disk_read_bytes'), rate('disk_written_bytes'), 'read', 'written');
        if (f.net_sent_bytes !== undefined) this.pair(this.net, rate('net_received_bytes'), rate('net_sent_bytes'), 'in', 'out');
    }

    pair(chart, a, b, first, second) {
        chart.add(a, b);
        chart.say(`${bytes(a + b)}/s`, `${one}${bytes(a)}/s ${first}${two}${bytes(b)}/s ${second}`);
    }
}
