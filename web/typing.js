// SPDX-License-Identifier: GPL-2.0-or-later
// Text as keys. The server finds the key, and Shift, of each character on the keyboard that -k names; guests need a moment for each.
const PAUSE_MS = 16, KEYS = { '\n': 0xff0d, '\t': 0xff09 };

const keysym = (c) => KEYS[c] || (c >= ' ' && c <= '~' ? c.charCodeAt(0) : 0);

// The characters that no key makes.
export function impossible(text) { return [...new Set(text.replace(/\r\n?/g, '\n'))].filter((c) => !keysym(c)); }

export async function type(text, screen) {
    for (const c of text.replace(/\r\n?/g, '\n')) {
        if (!keysym(c)) continue;
        screen.key(keysym(c));
        await new Promise((done) => setTimeout(done, PAUSE_MS));
    }
}
