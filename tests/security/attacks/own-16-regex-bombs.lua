-- class: cpu-in-host/regex
-- expect: ok|error|limit_time|limit_instructions|limit_memory
-- must_not: patterns and subjects make the host helper allocate or compute without bound
local long = ("a"):rep(100000)
pcall(regex.match, long, ("(a?){1000}"):rep(8))
pcall(regex.match, long, ("(((a{100}){100}){100}){100}"))
pcall(regex.match, long, ("("):rep(4000) .. (")"):rep(4000))
pcall(regex.match, long, ("(a)"):rep(2000))
pcall(regex.match, long, ("a"):rep(9000))
pcall(regex.match, long:rep(50), "a")
pcall(regex.match, "x", "(?P<n>a)(?P<n>b)")
pcall(regex.match, "x", "\\1(a)")
pcall(regex.match, "\xff\xfe", "\xff")
pcall(regex.match, "a\0b", "a\0b")
pcall(regex.gsub, "aaa", "a*?", "$99${nope}\\9$")
pcall(regex.gsub, "aaa", "", function() return {} end)
pcall(regex.gsub, ("a"):rep(1000), "a", ("$0"):rep(10000))
local all = regex.match_all(("ab"):rep(20000), "")
return #all == 40001 and "contained" or "ESCAPED"
