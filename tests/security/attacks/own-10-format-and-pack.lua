-- class: memory/lua-heap
-- expect: ok|error|limit_memory|limit_instructions|limit_time
-- must_not: widths, alignments and counts make one library call allocate or compute without bound
pcall(string.format, "%99999d", 1)
pcall(string.format, "%.99999f", 1)
pcall(string.format, "%" .. ("0"):rep(100000) .. "d", 1)
pcall(string.format, ("%s"):rep(100000), 1)
pcall(string.format, "%q", ("\0"):rep(1000000))
pcall(string.format, "%c%c%c", 0, 0, 0)
pcall(string.packsize, "c2147483647c2147483647")
pcall(string.pack, "!16 i1 !16 i16", 1, 2)
pcall(string.pack, ("s"):rep(100000), "x")
pcall(string.unpack, ("c0"):rep(100000), "")
pcall(string.unpack, "s8", ("\255"):rep(8))
pcall(string.unpack, "z", "no end")
pcall(string.unpack, "i1", "x", math.mininteger)
pcall(utf8.char, table.unpack({}, 1, 100))
pcall(utf8.codepoint, ("x"):rep(100000), 1, -1)
pcall(function() for _ in utf8.codes("\xff") do end end)
string.pack("c1000000000", "")
return "contained"
