-- SPDX-License-Identifier: GPL-2.0-or-later
-- Prints one line: a checksum of what many traces, made anew again and again, computed. Integers below 2^53 only.
local seed, rounds = tonumber(arg[1]), tonumber(arg[2])
local bit = require("bit")
local sum = seed
local function mix(x) sum = bit.bxor(bit.rol(sum, 5), bit.tobit(x)) end
local kernels = {
    function(n) local a = {} for i = 1, n do a[i] = (i * 7 + seed) % 1009 end table.sort(a) for i = 2, n do mix(a[i] - a[i - 1]) end end,
    function(n) local x, y = 0, 1 for i = 1, n * 20 do x, y = y, (x + y) % 1000003 if y % 3 == 0 then mix(x) elseif y % 5 == 0 then mix(-y) end end end,
    function(n) local t = {} for i = 1, n do t[#t + 1] = string.char(97 + (i * i + seed) % 26) end
        for w in table.concat(t):gmatch("[aeiou]+[^aeiou]*") do mix(#w) end end,
    function(n) local m = {} for i = 1, n do m["k" .. i % 97] = (m["k" .. i % 97] or 0) + i end for i = 0, 96 do mix(m["k" .. i] or 0) end end,
    function(n) local f = 0.0 for i = 1, n * 10 do f = f + math.floor(math.sqrt(i) * 8) / 8 end mix(f % 2147483648) end,
}
for round = 1, rounds do
    jit.opt.start("hotloop=" .. 2 + round % 40, "hotexit=" .. 2 + round % 9)
    for k = 1, #kernels do kernels[k](200 + round % 50) end
    -- New functions all the time: their traces are new machine code.
    local f = assert(loadstring("local mix = ... for i = 1, 300 do if i % " .. 2 + round % 7 .. " == 0 then mix(i * " .. round .. ") else mix(i) end end"))
    f(mix)
    if round % 16 == 0 then jit.flush() end
    if round % 64 == 0 then collectgarbage() end
end
print(bit.tohex(sum))
