-- Applies a batch of one partition of stored states: the highest epoch and revision of an account wins, as it does for
-- a worker that recovers. ARGV after the four of `refusal`: then for each record its row and the stored bytes.
-- A row without `e` is a tombstone.
local refused = refusal()
if refused then return refused end

local applied = 0
for index = 5, #ARGV, 2 do
  local row = cmsgpack.unpack(ARGV[index])
  local key = prefix .. 'account:' .. row.a
  local stored = redis.call('HMGET', key, 'version', 'seq')
  local epoch, revision, offset = string.match(stored[1] or '-1:-1:-1', '^(-?%d+):(-?%d+):(-?%d+)$')
  epoch, revision, offset = tonumber(epoch), tonumber(revision), tonumber(offset)
  if is_repeat(row.o) then
    -- nothing is new in it
  elseif not row.e then
    if offset >= 0 and row.o > offset then
      redis.call('HDEL', key, 'version', 'state')
      applied = applied + 1
    end
  elseif row.e > epoch or (row.e == epoch and row.r > revision) then
    local version = int(row.e) .. ':' .. int(row.r) .. ':' .. int(row.o)
    redis.call('HSET', key, 'version', version, 'state', ARGV[index + 1])
    if not stored[2] then redis.call('EXPIRE', key, ORPHAN_SECONDS) end -- it departed, or its score comes in a moment
    applied = applied + 1
  end
end
advance()
return applied
