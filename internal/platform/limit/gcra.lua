-- The arithmetic of gcra.go (pace.take), where it is atomic for every process.
-- A test compares the two call by call: change them together.
-- KEYS[1] is the counter; ARGV is the interval and the tolerance in microseconds.
-- Time is that of Redis, because the clocks of the callers differ.
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local interval = tonumber(ARGV[1])
local tolerance = tonumber(ARGV[2])

local before = tonumber(redis.call('GET', KEYS[1]) or 0) or 0
local tat = math.min(math.max(before, now), now + tolerance)

local allowed = 0
if tat + interval <= now + tolerance then
	allowed = 1
	tat = tat + interval
end
if tat ~= before then
	-- Expiry comes a second late, so that it only cleans up and never decides.
	-- The format is there because Lua would write a number this long as 1.8e+15.
	local ttl = math.ceil((tat - now) / 1000) + 1000
	redis.call('SET', KEYS[1], string.format('%.0f', tat), 'PX', string.format('%.0f', ttl))
end
return {allowed, now, tat}
