-- What every script of the copy begins with. KEYS[1] is the prefix of all; ARGV[1] the epoch that the writer believes in.
-- Rows are MessagePack. All keys are made from the prefix, so the copy lives on one server (with replicas), not on a cluster of shards.
local copy = KEYS[1] .. 'copy'
local prefix = KEYS[1] .. ARGV[1] .. ':'

local function now_ms()
  local time = redis.call('TIME')
  return tonumber(time[1]) * 1000 + math.floor(tonumber(time[2]) / 1000)
end

local function int(number)
  return string.format('%.0f', number + 0) -- Redis takes no -0
end

-- Every partition was read to its end a moment ago: what comes now is news, not history.
local function is_live(now)
  local partitions = tonumber(redis.call('HGET', copy, 'partitions') or '0')
  local current = redis.call('HVALS', prefix .. 'current')
  if #current < partitions or partitions == 0 then return false end
  for _, value in ipairs(current) do
    if tonumber(value) < now - CURRENT_MS then return false end
  end
  return true
end

-- Refuses a writer that does not know what is stored here: of a wiped Redis, or of a replica that was behind.
-- ARGV: epoch, place, the offset that the writer read from, the next offset.
local function refusal()
  if redis.call('HGET', copy, 'epoch') ~= ARGV[1] then return 'epoch' end
  local stored = redis.call('HGET', prefix .. 'offsets', ARGV[2])
  if not stored or tonumber(stored) < tonumber(ARGV[3]) then return 'gap' end
  return nil
end

local function advance()
  local stored = tonumber(redis.call('HGET', prefix .. 'offsets', ARGV[2]))
  if tonumber(ARGV[4]) > stored then redis.call('HSET', prefix .. 'offsets', ARGV[2], ARGV[4]) end
end

-- Tells whether this very copy applied the record at an offset of the batch's place before: an account that was erased
-- since would come back.
local applied_to
local function is_repeat(offset)
  applied_to = applied_to or tonumber(redis.call('HGET', prefix .. 'offsets', ARGV[2]))
  return offset < applied_to
end

-- Takes the entries of one kind about erased accounts out of the stream, and has followers read anew: an entry that told
-- of the erasure would name the account as long as the stream is. `erased` is a set of what rows have in a field.
local function leave_stream(kind, field, erased)
  local key = prefix .. 'stream'
  for _, entry in ipairs(redis.call('XRANGE', key, '-', '+')) do
    local fields = {}
    for index = 1, #entry[2], 2 do fields[entry[2][index]] = entry[2][index + 1] end
    if fields.kind == kind and erased[cmsgpack.unpack(fields.row)[field]] then redis.call('XDEL', key, entry[1]) end
  end
  if is_live(now_ms()) then redis.call('XADD', key, 'MAXLEN', '~', STREAM_MAX, '*', 'kind', 'reset') end
end

-- What belongs to an account lives as long as its score; without one, as it departed or comes in a moment, for a time.
local function live_with(account, keys)
  local life = redis.call('TTL', prefix .. 'account:' .. account)
  if life == -2 then life = ORPHAN_SECONDS end
  if life <= 0 then return end
  for _, key in ipairs(keys) do redis.call('EXPIRE', key, life) end
end

-- The latest day that any score is of.
local function note_day(day)
  local stored = tonumber(redis.call('HGET', copy, 'day') or '-1')
  if day <= stored then return stored, stored end
  redis.call('HSET', copy, 'day', int(day))
  return day, stored
end

-- Keeps the portfolio as it stands under the latest day; what stands there when another day comes is how it ended.
local function keep_day(seen)
  local day, stored = note_day(seen)
  if day < 0 then return end
  local counts = redis.call('HGETALL', prefix .. 'portfolio')
  redis.call('HSET', prefix .. 'days', int(day), cjson.encode(counts))
  if day > stored then
    for _, known in ipairs(redis.call('HKEYS', prefix .. 'days')) do
      if tonumber(known) <= day - HISTORY_DAYS then redis.call('HDEL', prefix .. 'days', known) end
    end
  end
end
