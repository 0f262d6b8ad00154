%%% ketama.erl - maps keys to memcached servers by libketama
%%%
%%%     {ok, _} = ketama:start_link("/etc/ketama.servers"),
%%%     {ok, <<"10.0.1.1:11211">>} = ketama:getserver(<<"user:42">>).
%%%
%%% One gen_server, registered as `ketama', owns the driver ketama_port, a program that
%%% reloads the server file when it changes. While the file is invalid or missing, the
%%% driver reports that on stderr and keeps the last valid version.
%%%
%%% Put it under a supervisor. If the driver dies or hangs, all waiting callers get an error
%%% and the server stops with the same reason. A new server starts a new driver, which needs
%%% a valid server file:
%%%     #{id => ketama, start => {ketama, start_link, ["/etc/ketama.servers"]}}
-module(ketama).
-behaviour(gen_server).

-export([start_link/0, start_link/1, start_link/2, getserver/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2, terminate/2, code_change/3]).
-export_type([key/0, reason/0, status/0]).

-define(DEFAULT_FILE, "/etc/ketama.servers").
-define(KEY_MAX, 254). % a length byte of 255 would end the driver
-define(PATIENCE, 5000). % milliseconds without an answer before the driver counts as hung
-define(GRACE, 200). % milliseconds more, for answers received but not yet read

-type key() :: unicode:chardata() | iodata().
%% An exit status, 128 + N after signal N; `epipe' if the VM saw the closed pipe before the
%% exit status; at start, also the reason that the program cannot run, such as `enoent'.
-type status() :: non_neg_integer() | atom().
-type reason() ::
    not_running                                   % no server is registered
    | bad_key                                     % neither iodata nor a string
    | {key_too_long, Bytes :: pos_integer()}      % over 254
    | {driver_exited, status()}
    | {no_answer, Milliseconds :: pos_integer()}
    | {driver_failed, unexpected_answer}          % an unrequested or empty answer
    | term().                                     % any other reason that the server stopped with
-type start() ::
    {ok, pid()}
    | {error, {already_started, pid()}
            | {driver_failed, status()}           % 1: invalid file, see stderr
            | {no_answer, Milliseconds :: pos_integer()}}.

-record(state, {
    port :: port(),
    sent = queue:new() :: queue:queue(gen_server:from()), % in the order of the answers
    unsent = queue:new() :: queue:queue({gen_server:from(), binary()}),
    heard = 0 :: integer(), % when the driver last answered, or last owed no answer
    timer = none :: none | reference(),
    warned = false :: boolean() % PATIENCE has passed, GRACE has not
}).

%% Starts the server for /etc/ketama.servers, and returns after the driver's first answer.
-spec start_link() -> start().
start_link() ->
    start_link(?DEFAULT_FILE).

%% The same for another file. The driver is ketama_port in the `priv' directory of the
%% application `ketama', else of this module's application, else beside this module's beam
%% file, else in PATH.
-spec start_link(file:filename_all()) -> start().
start_link(File) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, {File, default}, []).

%% The same, with the path of the driver.
-spec start_link(file:filename_all(), file:filename_all()) -> start().
start_link(File, Driver) ->
    gen_server:start_link({local, ?MODULE}, ?MODULE, {File, Driver}, []).

%% Returns the address of the server that the key belongs to, as written in the file. The
%% key is at most 254 bytes: iodata, or else text with code points above 255, encoded as
%% UTF-8. So "\x{fc}" is the single byte 252; to match clients that encode text as UTF-8,
%% pass <<"\x{fc}"/utf8>>. Never exits if the server fails. Waits as long as the driver
%% keeps answering earlier callers.
-spec getserver(key()) -> {ok, Server :: binary()} | {error, reason()}.
getserver(Key) ->
    case to_bytes(Key) of
        bad_key -> {error, bad_key};
        Bytes when byte_size(Bytes) > ?KEY_MAX -> {error, {key_too_long, byte_size(Bytes)}};
        Bytes -> ask(Bytes)
    end.

-spec to_bytes(term()) -> binary() | bad_key.
to_bytes(Key) ->
    try iolist_to_binary(Key)
    catch
        error:badarg ->
            try unicode:characters_to_binary(Key) of
                Bytes when is_binary(Bytes) -> Bytes;
                _ -> bad_key
            catch
                error:badarg -> bad_key
            end
    end.

%% The server has the timeout, not the caller, so no late answer reaches a caller.
-spec ask(binary()) -> {ok, binary()} | {error, reason()}.
ask(Bytes) ->
    try gen_server:call(?MODULE, {getserver, Bytes}, infinity)
    catch
        exit:{noproc, _} -> {error, not_running};
        exit:{Reason, {gen_server, call, _}} -> {error, Reason}
    end.

%% gen_server

-spec init({file:filename_all(), file:filename_all() | default}) ->
    {ok, #state{}} | {stop, term()}.
init({File, default}) ->
    case find_driver() of
        none -> {stop, {driver_failed, enoent}};
        Driver -> init({File, Driver})
    end;
init({File, Driver}) ->
    process_flag(trap_exit, true), % so that terminate/2 is called
    Options = [{packet, 1}, {args, [File]}, binary, exit_status, use_stdio],
    try open_port({spawn_executable, Driver}, Options) of
        Port -> probe(Port)
    catch
        error:Reason -> {stop, {driver_failed, Reason}}
    end.

%% The empty key is valid, and the shortest.
-spec probe(port()) -> {ok, #state{}} | {stop, term()}.
probe(Port) ->
    _ = send(Port, <<>>),
    receive
        {Port, {data, _}} -> {ok, #state{port = Port}};
        {Port, {exit_status, Status}} -> {stop, {driver_failed, Status}};
        {'EXIT', Port, Reason} -> {stop, {driver_failed, Reason}}
    after ?PATIENCE ->
        kill(Port),
        {stop, {no_answer, ?PATIENCE}}
    end.

-spec handle_call(term(), gen_server:from(), #state{}) ->
    {noreply, #state{}} | {reply, {error, unknown_call}, #state{}}.
handle_call({getserver, Bytes}, From, State) ->
    {noreply, send_all(queue_up({From, Bytes}, State))};
handle_call(_, _, State) ->
    {reply, {error, unknown_call}, State}.

-spec handle_cast(term(), #state{}) -> {noreply, #state{}}.
handle_cast(_, State) ->
    {noreply, State}.

-spec handle_info(term(), #state{}) -> {noreply, #state{}} | {stop, reason(), #state{}}.
handle_info({Port, {data, Server}}, #state{port = Port} = State) ->
    case queue:out(State#state.sent) of
        {{value, From}, Sent} when Server =/= <<>> ->
            gen_server:reply(From, {ok, Server}),
            {noreply, send_all(State#state{sent = Sent, heard = now_ms(), warned = false})};
        _ ->
            kill(Port),
            fail({driver_failed, unexpected_answer}, State)
    end;
handle_info({Port, {exit_status, Status}}, #state{port = Port} = State) ->
    fail({driver_exited, Status}, State);
handle_info({'EXIT', Port, Reason}, #state{port = Port} = State) ->
    fail({driver_exited, Reason}, State);
handle_info({timeout, Timer, patience}, #state{timer = Timer} = State) ->
    Left = State#state.heard + ?PATIENCE - now_ms(),
    case owes_answers(State) of
        true when Left > 0 ->
            {noreply, send_all(State#state{timer = start_timer(Left)})};
        true when not State#state.warned -> % a VM that was paused may have answers to read
            {noreply, State#state{timer = start_timer(?GRACE), warned = true}};
        true ->
            kill(State#state.port),
            fail({no_answer, ?PATIENCE}, State);
        false ->
            {noreply, State#state{timer = none}}
    end;
handle_info(_, State) ->
    {noreply, State}.

%% The driver exits when its stdin is closed, unless it hangs, which an owed answer suggests.
-spec terminate(term(), #state{}) -> ok.
terminate(_, #state{port = Port} = State) ->
    owes_answers(State) andalso kill(Port),
    catch port_close(Port), % it may be closed already
    ok.

-spec code_change(term(), #state{}, term()) -> {ok, #state{}}.
code_change(_, State, _) ->
    {ok, State}.

%% The queues

%% One timer runs while the driver owes answers, and checks `heard' when it expires. That is
%% cheaper than a new timer for each answer.
-spec queue_up({gen_server:from(), binary()}, #state{}) -> #state{}.
queue_up(Request, #state{unsent = Unsent, timer = Timer} = State) ->
    Heard = case owes_answers(State) of
        true -> State#state.heard;
        false -> now_ms()
    end,
    State#state{
        unsent = queue:in(Request, Unsent),
        heard = Heard,
        timer = case Timer of none -> start_timer(?PATIENCE); _ -> Timer end
    }.

%% Sends as much as the port accepts now; the rest follows as answers arrive.
-spec send_all(#state{}) -> #state{}.
send_all(#state{port = Port, sent = Sent, unsent = Unsent} = State) ->
    case queue:peek(Unsent) of
        {value, {From, Bytes}} ->
            case send(Port, Bytes) of
                true ->
                    Rest = queue:drop(Unsent),
                    send_all(State#state{sent = queue:in(From, Sent), unsent = Rest});
                false ->
                    State
            end;
        empty ->
            State
    end.

%% Without nosuspend, a driver that hangs would suspend this process, too. A closed port is
%% not an error here: a message with the reason follows.
-spec send(port(), binary()) -> boolean().
send(Port, Bytes) ->
    try port_command(Port, Bytes, [nosuspend])
    catch
        error:badarg -> true
    end.

-spec fail(reason(), #state{}) -> {stop, reason(), #state{}}.
fail(Reason, #state{sent = Sent, unsent = Unsent} = State) ->
    Waiting = queue:to_list(Sent) ++ [From || {From, _} <- queue:to_list(Unsent)],
    lists:foreach(fun(From) -> gen_server:reply(From, {error, Reason}) end, Waiting),
    {stop, Reason, State#state{sent = queue:new(), unsent = queue:new()}}.

-spec owes_answers(#state{}) -> boolean().
owes_answers(#state{sent = Sent, unsent = Unsent}) ->
    not (queue:is_empty(Sent) andalso queue:is_empty(Unsent)).

-spec now_ms() -> integer().
now_ms() ->
    erlang:monotonic_time(millisecond).

-spec start_timer(pos_integer()) -> reference().
start_timer(Milliseconds) ->
    erlang:start_timer(Milliseconds, self(), patience).

%% The driver

%% A process that is stopped or stuck does not react to a closed stdin. If the VM knows that
%% the driver has exited, os_pid is undefined, so that no reused process id is killed.
-spec kill(port()) -> ok.
kill(Port) ->
    case erlang:port_info(Port, os_pid) of
        {os_pid, Pid} -> _ = os:cmd("kill -KILL " ++ integer_to_list(Pid)), ok;
        undefined -> ok
    end.

-spec find_driver() -> file:filename() | none.
find_driver() ->
    Name = "ketama_port",
    Priv = [Dir || Dir <- [code:priv_dir(?MODULE)], is_list(Dir)],
    Beam = [filename:dirname(File) || File <- [code:which(?MODULE)], is_list(File), File =/= []],
    Ours = [filename:join([Dir, "..", "priv"]) || Dir <- Beam], % this module's application
    Paths = [filename:join(Dir, Name) || Dir <- Priv ++ Ours ++ Beam],
    case lists:filter(fun filelib:is_regular/1, Paths) ++ [os:find_executable(Name)] of
        [false] -> none;
        [Found | _] -> Found
    end.
