-- Notes up to when a writer has applied each partition; tells followers when the copy has become live.
-- ARGV after the epoch: model version or '', then pairs of a place and a time: 0 when it was read to its end just now,
-- else when its last applied record was written, which counts only after the place was read to its end once.
if redis.call('HGET', copy, 'epoch') ~= ARGV[1] then return 'epoch' end
local now = now_ms()
local current = prefix .. 'current'
for index = 3, #ARGV, 2 do
  local place, time = ARGV[index], tonumber(ARGV[index + 1])
  local known = tonumber(redis.call('HGET', current, place) or '-1')
  if time == 0 then
    redis.call('HSET', current, place, int(now))
  elseif known >= 0 and time > known then
    redis.call('HSET', current, place, int(math.min(time, now)))
  end
end
if ARGV[2] ~= '' then redis.call('HSET', copy, 'model_version', ARGV[2]) end
local live = is_live(now) and '1' or '0'
if redis.call('HGET', copy, 'live') ~= live then
  redis.call('HSET', copy, 'live', live)
  if live == '1' then
    redis.call('XADD', prefix .. 'stream', 'MAXLEN', '~', STREAM_MAX, '*', 'kind', 'reset')
    keep_day(-1)
  end
end
return live
