// SPDX-License-Identifier: GPL-2.0-or-later
// The page: asks for the guest's figures once a second, shows its state, and hands buttons on.
import { Figures } from '/charts.js';
import { Consoles } from '/console.js';
import { Screen } from '/screen.js';
import { impossible, type } from '/typing.js';

const $ = (id) => document.getElementById(id);
const figures = new Figures(), consoles = new Consoles();
const screen = new Screen({ connected: buttons, disconnected: buttons });
let last = null, failures = 0, over = false;

if (location.search) history.replaceState(null, '', '/');          // the token is used up

// ---- words ----

function toast(text) {
    const p = document.createElement('p');
    p.textContent = text;
    $('toasts').append(p);
    setTimeout(() => p.remove(), 8000);
}

function confirmed(title, text, yes) {
    const d = $('ask');
    d.querySelector('h2').textContent = title;
    d.querySelector('p').textContent = text;
    d.querySelector('[value=yes]').textContent = yes;
    d.returnValue = 'no';
    d.showModal();
    return new Promise((done) => d.addEventListener('close', () => done(d.returnValue === 'yes'), { once: true }));
}

// ---- state ----

function buttons() {
    const runs = Boolean(last && last.runs), seen = Boolean(screen.rfb);
    $('pause').hidden = !runs;
    $('resume').hidden = runs;
    for (const id of ['pause', 'resume', 'reset', 'powerdown', 'quit']) $(id).disabled = over || !last;
    for (const id of ['cad', 'paste', 'shot', 'fit', 'full']) $(id).disabled = over || !seen;
    $('size').textContent = screen.size();
}

function show(f) {
    last = f;
    document.title = `${f.name} – ospite`;
    $('name').textContent = f.name;
    $('state').textContent = f.state;
    $('state').dataset.runs = f.runs ? 'yes' : 'no';
    $('about').textContent = `Engine: ${f.engine}`;
    $('screen-card').hidden = !f.screen;
    if (f.screen) screen.connect();
    consoles.open(f.consoles, f.console_sizes);
    figures.update(f);
    buttons();
}

function end(text) {
    over = true;
    $('state').textContent = text;
    $('state').dataset.runs = 'gone';
    screen.end(text);
    buttons();
}

async function poll() {
    try {
        const r = await fetch('/figures');
        if (r.status === 403) return end('this session is over');
        if (r.ok) { failures = 0; show(await r.json()); }
    } catch (e) {
        if (++failures >= 3) return end('the machine has ended');
    }
    setTimeout(poll, document.hidden ? 4000 : 1000);
}

async function command(name) {
    try {
        const r = await fetch(`/do/${name}`, { method: 'POST' });
        if (!r.ok) toast(await r.text());
        else if (name === 'quit') end('the machine has ended');
    } catch (e) {
        toast('the machine does not answer');
    }
}

// ---- buttons ----

$('pause').onclick = () => command('pause');
$('resume').onclick = () => command('resume');
$('powerdown').onclick = () => command('powerdown');
$('reset').onclick = async () => {
    if (await confirmed('Reset the guest?', 'It starts anew at once. What it has not written to its disks is lost.', 'Reset')) command('reset');
    screen.focus();
};
$('quit').onclick = async () => {
    if (await confirmed('End the machine?', 'As by pulling the plug: what the guest has not written to its disks is lost.', 'End it')) command('quit');
};
$('cad').onclick = () => screen.ctrlAltDel();
$('fit').onclick = () => {
    screen.fit(!screen.fits);
    $('fit').setAttribute('aria-pressed', screen.fits);
};
$('fit').setAttribute('aria-pressed', true);
$('full').onclick = () => { $('screen-card').requestFullscreen(); screen.focus(); };

$('shot').onclick = async () => {
    const blob = await screen.png();
    if (!blob) return;
    const a = document.createElement('a');
    a.href = URL.createObjectURL(blob);
    a.download = `${last.name}-${new Date().toISOString().slice(0, 19).replace(/[:T]/g, '-')}.png`;
    a.click();
    setTimeout(() => URL.revokeObjectURL(a.href), 10000);
};

const paste = $('paste-dialog'), pasted = paste.querySelector('textarea');
pasted.oninput = () => {
    const none = impossible(pasted.value);
    paste.querySelector('.note').textContent = none.length ? `left out, no key makes them: ${none.slice(0, 12).join(' ')}` : '';
};
$('paste').onclick = () => { paste.returnValue = 'no'; paste.showModal(); };
paste.addEventListener('close', async () => {
    if (paste.returnValue !== 'yes') return;
    const text = pasted.value;
    pasted.value = '';
    pasted.oninput();
    screen.focus();
    await type(text, screen);
});

// ---- dark and light ----

function theme(name) {
    document.documentElement.dataset.theme = name;
    localStorage.setItem('theme', name);
}
theme(localStorage.getItem('theme') || (matchMedia('(prefers-color-scheme: dark)').matches ? 'dark' : 'light'));
$('theme').onclick = () => theme(document.documentElement.dataset.theme === 'dark' ? 'light' : 'dark');

buttons();
poll();
